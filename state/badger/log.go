package badger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/dgraph-io/badger/v4/y"
	"golang.org/x/sys/unix"
)

// Badger replays a memtable's write-ahead log up to the first record that is not
// whole and drops the rest. That is right for the end of a log whose last
// writes a crash cut off, and loses what was acknowledged when a record in the
// middle is damaged. verifyLog tells these two apart before badger looks.
//
// A log is a header, then records one after the other: meta and user meta, a
// byte each; the lengths of key and value and a time of expiry as unsigned
// varints; key; value; CRC-32C of all that, big endian. Behind the last one are
// zeros. See badger's structs.go and memtable.go, version 4.
const (
	logHeader   = 20      // bytes: the number of a data key, and a nonce
	longKey     = 1 << 16 // bytes: badger reads no key that is longer
	versionSize = 8       // bytes, at the end of a key
	page        = 4 << 10 // bytes, that reach the disk together
)

// verifyLog returns an error when records of other transactions follow one that
// is damaged: they were committed after it.
func verifyLog(file string) error {
	log, err := readWritten(file)
	if err != nil || len(log) < logHeader {
		return err
	}
	end, open := logHeader, uint64(0) // the transaction that is not complete
	for {
		r, ok := readRecord(log[end:])
		if !ok {
			break
		}
		if end += r.length; r.last {
			open = 0
		} else {
			open = r.version
		}
	}
	next := nextRecord(log, end)
	if next < 0 && cutShort(log[end:], file) {
		return fmt.Errorf("it is cut short, in a record at byte %d", end)
	}
	if next < 0 || torn(log[end:next], end) {
		return nil
	}
	for at := next; at >= 0; {
		r, _ := readRecord(log[at:])
		if open == 0 {
			open = r.version
		}
		if r.version != open {
			return fmt.Errorf("a record in it is damaged, at byte %d, and others follow", end)
		}
		at = nextRecord(log, at+r.length)
	}
	return nil
}

// cutShort reports whether a log ends with the part of a record although it has not
// its full size. Badger takes all that is not whole away when it shortens a log.
func cutShort(rest []byte, file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Size() < logSize && len(bytes.Trim(rest, "\x00")) > 0
}

// holdsCommit reports whether a log has a whole transaction.
func holdsCommit(file string) (bool, error) {
	log, err := readWritten(file)
	if err != nil || len(log) < logHeader {
		return false, err
	}
	for end := logHeader; ; {
		r, ok := readRecord(log[end:])
		if !ok || r.last {
			return ok, nil
		}
		end += r.length
	}
}

// readWritten reads a file up to the last part of it that was ever written. A log
// has its full size from the beginning, and all the rest is a hole.
func readWritten(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var end int64
	for err == nil {
		var data int64
		if data, err = f.Seek(end, unix.SEEK_DATA); err == nil {
			end, err = f.Seek(data, unix.SEEK_HOLE)
		}
	}
	if !errors.Is(err, unix.ENXIO) { // which says that only a hole follows
		return os.ReadFile(file) // a file system that knows no holes
	}
	written := make([]byte, end)
	_, err = f.ReadAt(written, 0)
	return written, err
}

// logRecord is one change of a transaction, or its end.
type logRecord struct {
	length  int // bytes that it takes
	meta    byte
	key     []byte // with the version behind it
	value   []byte
	version uint64 // of the transaction
	last    bool   // it is the end of its transaction
}

const (
	metaDeleted = 1 << 0
	metaLast    = 1 << 7
)

// readRecord reads the record that b begins with, if there is a whole one.
func readRecord(b []byte) (r logRecord, ok bool) {
	n := 2
	var lengths [3]uint64 // of key and value; the time of expiry
	for i := range lengths {
		if n >= len(b) {
			return r, false
		}
		v, size := binary.Uvarint(b[n:])
		if size <= 0 {
			return r, false
		}
		lengths[i], n = v, n+size
	}
	key, value := lengths[0], lengths[1]
	if key < versionSize || key > longKey || value > uint64(len(b)) {
		return r, false
	}
	end := n + int(key+value)
	if end+crc32.Size > len(b) || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return r, false
	}
	r = logRecord{length: end + crc32.Size, meta: b[0], key: b[n : n+int(key)], value: b[n+int(key) : end]}
	r.version, r.last = y.ParseTs(r.key), r.meta&metaLast != 0
	return r, true
}

// nextRecord returns where, from some byte on, the next whole record begins; -1
// if there is none. It looks at every byte that can be the first of one: those
// whose key begins as the keys of this store and of badger's own do.
func nextRecord(log []byte, from int) int {
	for at := from; at < len(log); at++ {
		if log[at] == 0 && at%page == 0 && blank(log[at:min(at+page, len(log))]) {
			at += page - 1
			continue
		}
		if !plausible(log[at:]) {
			continue
		}
		if _, ok := readRecord(log[at:]); ok {
			return at
		}
	}
	return -1
}

// plausible reports, quickly, whether b may begin with a record: neither
// encrypted nor with user meta, and its key begins with a printable character or
// is the schema's.
func plausible(b []byte) bool {
	if len(b) < logHeader || b[1] != 0 || b[2] == 0 {
		return false
	}
	n := 2
	for range 3 {
		_, size := binary.Uvarint(b[n:min(n+binary.MaxVarintLen64, len(b))])
		if size <= 0 || n+size >= len(b) {
			return false
		}
		n += size
	}
	return b[n] >= '!' && b[n] < 0x7f || bytes.HasPrefix(b[n:], []byte(schemaKey))
}

// torn reports whether a part of a log, which begins at the byte from of it, lacks
// something that never reached the disk, as when the power fails: pages are
// written in any order, and what they lack is their end, so the last byte of such
// a page is zero. Nobody was told of what stood there. Records are text for the
// most part, and end with such a byte by chance seldom.
func torn(part []byte, from int) bool {
	for last := page - 1 - from%page; last < len(part); last += page {
		if part[last] == 0 {
			return true
		}
	}
	return false
}

// blank reports whether a page, or the part of one, is zeros. Most of a log is, so
// it is compared whole.
func blank(b []byte) bool {
	var zeros [page]byte
	return bytes.Equal(b, zeros[:len(b)])
}
