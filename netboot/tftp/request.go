package tftp

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// Kinds of packets, RFC 1350, section 5, and RFC 2347.
const (
	opRead   = 1
	opWrite  = 2
	opData   = 3
	opAck    = 4
	opError  = 5
	opOptAck = 6
)

// Codes of failures.
const (
	undefined = 0
	notFound  = 1
	denied    = 2
	illegal   = 4
)

const (
	headerSize  = 4    // bytes before the data of a block
	usualBlock  = 512  // bytes
	leastBlock  = 8    // bytes, RFC 2348
	largeBlock  = 1468 // bytes, with which a packet fits into a frame of Ethernet
	largeWindow = 64   // blocks that are sent before one waits, RFC 7440
	usualWait   = time.Second
	// longestWait is how many seconds of silence of a client the server agrees to before it
	// sends again. RFC 2349 lets clients ask for 255: some of those would keep all others out.
	longestWait = 10
)

// failure is what a client is told instead of a file.
type failure struct {
	code uint16
	text string
}

func (f *failure) packet() []byte {
	b := binary.BigEndian.AppendUint16(nil, opError)
	b = binary.BigEndian.AppendUint16(b, f.code)
	return append(append(b, f.text...), 0)
}

// request is one for a file.
type request struct {
	file    string
	options [][2]string // in their order; names in lower case
}

// parseRequest reads a packet to port 69: what is neither a request nor wrong is for
// nobody.
func parseRequest(b []byte) (*request, *failure) {
	if len(b) < 2 {
		return nil, nil
	}
	switch binary.BigEndian.Uint16(b) {
	case opRead:
	case opWrite:
		return nil, &failure{denied, "files can only be read"}
	default:
		return nil, nil
	}
	fields := strings.Split(string(b[2:]), "\x00")
	fields = fields[:len(fields)-1] // each ends with a zero
	if len(fields) < 2 || fields[0] == "" {
		return nil, &failure{illegal, "this is no request for a file"}
	}
	if mode := strings.ToLower(fields[1]); mode != "octet" {
		return nil, &failure{illegal, "files are sent in the mode octet alone"}
	}
	r := &request{file: fields[0]}
	for rest := fields[2:]; len(rest) >= 2; rest = rest[2:] {
		r.options = append(r.options, [2]string{strings.ToLower(rest[0]), rest[1]})
	}
	return r, nil
}

// terms are what a client and the server agree on.
type terms struct {
	block  int // bytes
	window int // blocks
	wait   time.Duration
}

// terms are those that a request asks for, as far as the server takes part, with blocks of
// no more than most bytes, unless that is 0, and the wait of those who ask for none.
func (r *request) terms(most int, wait time.Duration) terms {
	t := terms{block: usualBlock, window: 1, wait: wait}
	for _, o := range r.options {
		n, err := strconv.Atoi(o[1])
		if err != nil {
			continue
		}
		switch {
		case o[0] == "blksize" && n >= leastBlock:
			t.block = min(n, largeBlock)
			if most > 0 {
				t.block = min(t.block, most)
			}
		case o[0] == "windowsize" && n >= 1:
			t.window = min(n, largeWindow)
		case o[0] == "timeout" && n >= 1 && n <= longestWait:
			t.wait = time.Duration(n) * time.Second
		}
	}
	return t
}

// accepted is the packet that says on which of the options both agree, nil when there are none.
func (r *request) accepted(t terms, size int64) []byte {
	values := map[string]string{
		"blksize": strconv.Itoa(t.block), "windowsize": strconv.Itoa(t.window),
		"timeout": strconv.Itoa(int(t.wait / time.Second)), "tsize": strconv.FormatInt(size, 10),
	}
	if size == Unknown {
		delete(values, "tsize")
	}
	var b bytes.Buffer
	for _, o := range r.options {
		n, err := strconv.Atoi(o[1])
		value, known := values[o[0]]
		delete(values, o[0]) // not twice
		if !known || err != nil || n < 0 || o[0] == "blksize" && n < leastBlock || o[0] == "windowsize" && n < 1 ||
			o[0] == "timeout" && (n < 1 || n > longestWait) {
			continue
		}
		b.WriteString(o[0] + "\x00" + value + "\x00")
	}
	if b.Len() == 0 {
		return nil
	}
	return append([]byte{0, opOptAck}, b.Bytes()...)
}
