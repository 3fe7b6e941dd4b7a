package content

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// part is a piece of a sparse file that is stored; what is between the parts is
// zeros.
type part struct {
	at, size int64 // in the file
	from     int64 // in the archive
}

const partCost = 24 // bytes of memory

var errSparse = errors.New("the map of a sparse file is not valid")

// Sparse reports whether the content of a file is not stored as it is: a few
// bytes of an archive may then stand for any number of zeros.
func Sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// sparseParts returns what is stored of a sparse file, whose headers are at start
// in the archive and whose content follows them at data. Package tar reads such
// files from the first byte to the last, but does not tell what is where. See
// https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
func sparseParts(h *tar.Header, src io.ReaderAt, start, data int64) ([]part, error) {
	var numbers []int64 // offset and size of each part
	var err error
	switch list, listed := h.PAXRecords["GNU.sparse.map"]; {
	case h.Typeflag == tar.TypeGNUSparse:
		numbers, err = oldMap(src, start)
	case h.PAXRecords["GNU.sparse.major"] == "1":
		numbers, err = mapBefore(src, start, data)
	case listed:
		numbers, err = parseNumbers(strings.Split(list, ","))
	default:
		return nil, fmt.Errorf("%w: it has none", errSparse)
	}
	if err != nil || len(numbers)%2 != 0 {
		return nil, cmp.Or(err, errSparse)
	}
	parts := []part{}
	end := int64(0)
	for n := range slices.Chunk(numbers, 2) {
		at, size := n[0], n[1]
		if at < end || size < 0 || size > h.Size || at > h.Size-size {
			return nil, errSparse
		}
		end = at + size
		if size > 0 {
			parts = append(parts, part{at, size, data})
			data += size
		}
	}
	return parts, nil
}

const blockSize = 512

// mainHeader returns the header of an entry whose headers begin at pos, and where
// it ends: extended ones come before it.
func mainHeader(src io.ReaderAt, pos int64) (b [blockSize]byte, end int64, err error) {
	for {
		if _, err := src.ReadAt(b[:], pos); err != nil {
			return b, 0, err
		}
		pos += blockSize
		switch b[156] {
		case tar.TypeXHeader, tar.TypeXGlobalHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
			size, err := number(b[124:136])
			if err != nil || size < 0 || size > 1<<40 {
				return b, 0, errSparse
			}
			pos = roundUp(pos + size)
		default:
			return b, pos, nil
		}
	}
}

// oldMap reads the map in the header of an entry of its own type, and in the
// blocks that follow it.
func oldMap(src io.ReaderAt, start int64) (numbers []int64, err error) {
	b, pos, err := mainHeader(src, start)
	if err != nil {
		return nil, err
	}
	list, more := b[386:482], b[482]
	for {
		for field := range slices.Chunk(list, 12) {
			if len(numbers)%2 == 0 && field[0] == 0 {
				return numbers, nil
			}
			n, err := number(field)
			if err != nil {
				return nil, err
			}
			numbers = append(numbers, n)
		}
		if more == 0 {
			return numbers, nil
		}
		if _, err := src.ReadAt(b[:], pos); err != nil {
			return nil, err
		}
		pos += blockSize
		list, more = b[:504], b[504]
	}
}

// mapBefore reads the map that stands before the content: how many parts there
// are, and their numbers, a line each.
func mapBefore(src io.ReaderAt, start, data int64) ([]int64, error) {
	_, pos, err := mainHeader(src, start)
	if err != nil || pos > data {
		return nil, cmp.Or(err, errSparse)
	}
	text := make([]byte, min(data-pos, treeBudget))
	if _, err := src.ReadAt(text, pos); err != nil {
		return nil, err
	}
	lines := strings.Split(string(bytes.TrimRight(text, "\x00")), "\n")
	count, err := strconv.ParseInt(lines[0], 10, 32)
	if err != nil || count < 0 || int64(len(lines)) < 1+2*count {
		return nil, errSparse
	}
	return parseNumbers(lines[1 : 1+2*count])
}

func parseNumbers(list []string) (numbers []int64, err error) {
	for _, s := range list {
		if s == "" {
			continue // an empty map
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, errSparse
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// number reads a field of a header: octal digits or, after a first bit, binary.
func number(field []byte) (n int64, err error) {
	if field[0]&0x80 != 0 {
		for i, b := range field {
			if i == 0 {
				b &= 0x7f
			}
			if n >= 1<<55 {
				return 0, errSparse
			}
			n = n<<8 | int64(b)
		}
		return n, nil
	}
	text := strings.Trim(string(field), " \x00")
	if text == "" {
		return 0, nil
	}
	if n, err = strconv.ParseInt(text, 8, 64); err != nil {
		return 0, errSparse
	}
	return n, nil
}

func roundUp(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// sparseReader reads a sparse file; it has no end of its own.
type sparseReader struct {
	archive io.ReaderAt
	parts   []part
}

func (s sparseReader) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	end := off + int64(len(p))
	i, _ := slices.BinarySearchFunc(s.parts, off, func(p part, off int64) int { return cmp.Compare(p.at+p.size, off+1) })
	for ; i < len(s.parts) && s.parts[i].at < end; i++ {
		here := s.parts[i]
		from, to := max(here.at, off), min(here.at+here.size, end)
		if _, err := s.archive.ReadAt(p[from-off:to-off], here.from+from-here.at); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return int(from - off), err
		}
	}
	return len(p), nil
}
