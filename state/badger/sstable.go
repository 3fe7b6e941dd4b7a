package badger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// A table file of badger's is blocks, an index that says where each of them is,
// the length of the index, a checksum of it, and the length of that. A block is
// entries, where each begins, how many they are, a checksum of all that, and the
// length of that; lengths are four bytes, big endian. What is neither compressed
// nor encrypted can be verified without badger, which panics at what it cannot
// make sense of. See badger's table/builder.go, version 4.

var errCutShort = errors.New("it is cut short")

// verifyTables returns an error unless all of each table file is as it was written.
func verifyTables(files []string) error {
	var table bytes.Buffer // of one after the other: they may be many
	for _, file := range files {
		f, err := os.Open(file)
		if err == nil {
			table.Reset()
			_, err = table.ReadFrom(f)
			err = errors.Join(err, f.Close())
		}
		if err == nil {
			err = verifyTable(table.Bytes())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func verifyTable(table []byte) error {
	index, err := tableIndex(table)
	if err != nil {
		return err
	}
	for i := range index.OffsetsLength() {
		if _, err := tableBlock(table, index, i); err != nil {
			return fmt.Errorf("block %d of %d: %w", i+1, index.OffsetsLength(), err)
		}
	}
	return nil
}

// tableIndex returns the index of a table, once its checksum was compared.
func tableIndex(table []byte) (*fb.TableIndex, error) {
	rest, sum, err := cutLast(table)
	if err != nil {
		return nil, err
	}
	_, index, err := cutLast(rest)
	if err != nil {
		return nil, err
	}
	if err := compare(index, sum); err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	return fb.GetRootAsTableIndex(index, 0), nil
}

// tableBlock returns the i-th block of a table, without its checksum, once that
// was compared.
func tableBlock(table []byte, index *fb.TableIndex, i int) ([]byte, error) {
	var at fb.BlockOffset
	if !index.Offsets(&at, i) {
		return nil, errCutShort
	}
	begin, end := int(at.Offset()), int(at.Offset())+int(at.Len())
	if end > len(table) {
		return nil, errCutShort
	}
	block, sum, err := cutLast(table[begin:end])
	if err != nil {
		return nil, err
	}
	return block, compare(block, sum)
}

// compare returns an error unless the encoded checksum is that of b.
func compare(b, encoded []byte) error {
	var sum pb.Checksum
	if len(b) == 0 || proto.Unmarshal(encoded, &sum) != nil || pb.Checksum_Algorithm_name[int32(sum.Algo)] == "" {
		return y.ErrChecksumMismatch
	}
	if y.CalculateChecksum(b, sum.Algo) != sum.Sum {
		return y.ErrChecksumMismatch
	}
	return nil
}

// cutLast cuts from the end of b what is preceded in it by the rest and followed
// by its length.
func cutLast(b []byte) (rest, last []byte, err error) {
	end := len(b) - 4
	if end < 0 {
		return nil, nil, errCutShort
	}
	n := int(binary.BigEndian.Uint32(b[end:]))
	if n > end {
		return nil, nil, errCutShort
	}
	return b[:end-n], b[end-n : end], nil
}

// blockEntries visits the keys, with their versions, and the encoded values of a
// block. The first key is whole; each has in common with it, and then of its own,
// as many bytes as the four bytes before it say.
func blockEntries(block []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		n := len(block) - 4
		count := int(binary.BigEndian.Uint32(block[n:]))
		begin := func(i int) int { return int(binary.NativeEndian.Uint32(block[n-4*(count-i):])) }
		var first []byte
		for i := range count {
			end := n - 4*count
			if i+1 < count {
				end = begin(i + 1)
			}
			e := block[begin(i):end]
			common, own := binary.NativeEndian.Uint16(e), binary.NativeEndian.Uint16(e[2:])
			key := append(slices.Clone(first[:common]), e[4:4+own]...)
			if i == 0 {
				first = key
			}
			if !yield(key, e[4+own:]) {
				return
			}
		}
	}
}
