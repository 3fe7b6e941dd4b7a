package initrd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

var errXZ = errors.New("damaged, or no xz file of the form that modules have")

// xzReader reads an xz file. The library's own reader takes as much memory as the file
// says, up to 4 GiB; this one knows LZMA2 alone, which is what is used for modules and
// firmware, takes at most windowLimit, and does not compare the checks of blocks: the
// kernel looks at what it gets. See https://tukaani.org/xz/xz-file-format.txt
type xzReader struct {
	in    *bufio.Reader
	count *counter
	check int // bytes behind each block
	block io.Reader
	start int64 // of the block
	end   error
}

// counter counts what was read, not what was buffered: it is behind the buffer.
type counter struct {
	in *bufio.Reader
	n  int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.in.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func newXZReader(b []byte) *xzReader {
	in := bufio.NewReader(bytes.NewReader(b))
	x := &xzReader{in: in, count: &counter{in: in}}
	var head [12]byte
	_, err := io.ReadFull(x.count, head[:])
	switch {
	case err != nil || string(head[:7]) != "\xfd7zXZ\x00\x00" || crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]):
		x.end = errXZ
	default:
		x.check = map[byte]int{0: 0, 1: 4, 4: 8, 10: 32}[head[7]]
	}
	return x
}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.end == nil {
		if x.block == nil {
			x.end = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if err == io.EOF {
			x.block = nil
			if err = x.skip((4-int(x.count.n-x.start)&3)&3 + x.check); err == nil && n == 0 {
				continue
			}
		}
		x.end = err
		return n, err
	}
	return 0, x.end
}

// next begins a block. It fails with io.EOF at the index behind the last one.
func (x *xzReader) next() error {
	size, err := x.count.ReadByte()
	switch {
	case err != nil:
		return errXZ
	case size == 0:
		return io.EOF
	}
	head := make([]byte, (int(size)+1)*4)
	head[0] = size
	if _, err := io.ReadFull(x.count, head[1:]); err != nil {
		return errXZ
	}
	body, sum := head[:len(head)-4], head[len(head)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) || body[1]&0x3f != 0 {
		return errXZ // more filters than one, too
	}
	rest := body[2:]
	for _, flag := range []byte{0x40, 0x80} { // sizes, which LZMA2 does not need
		if body[1]&flag != 0 {
			_, n := binary.Uvarint(rest)
			if n <= 0 {
				return errXZ
			}
			rest = rest[n:]
		}
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 {
		return errXZ
	}
	window, err := lzma.DecodeDictCap(rest[2])
	if err != nil || window > windowLimit {
		return errXZ
	}
	x.start = x.count.n
	x.block, err = lzma.Reader2Config{DictCap: int(window)}.NewReader2(x.count)
	return err
}

func (x *xzReader) skip(n int) error {
	if _, err := io.CopyN(io.Discard, x.count, int64(n)); err != nil {
		return errXZ
	}
	return nil
}
