package state

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"walt/fault"
)

// A backup is the rows of one snapshot in key order: for each, the length of
// the key and of the value (unsigned varints), the key, the value. It is packed
// by gzip, which tells a file that was cut short or damaged, and whose comment
// tells a backup from any other file. Badger's own backup is not used: it reads
// each part of a store as of another instant.
const backupMark = "walt backup 1"

// Backup writes a consistent copy of the store, as of now, to w. Every record
// is verified; what fails midway has written nothing that Restore accepts.
func (b *Badger) Backup(ctx context.Context, w io.Writer) error {
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	zip.Comment = backupMark
	err = b.View(ctx, func(r Reader) error {
		if err := b.db.VerifyChecksum(); err != nil {
			return err
		}
		for row, err := range r.Scan("", "") {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && !strings.HasPrefix(row.Key, guardPrefix) {
				err = writeRow(zip, row)
			}
			if err != nil {
				return err
			}
		}
		return zip.Close()
	})
	if err != nil {
		return fmt.Errorf("write a backup: %w", err)
	}
	return nil
}

func writeRow(w io.Writer, row Row) error {
	b := binary.AppendUvarint(nil, uint64(len(row.Key)))
	b = binary.AppendUvarint(b, uint64(len(row.Value)))
	b = append(append(b, row.Key...), row.Value...)
	_, err := w.Write(b)
	return err
}

// readRow returns io.EOF after the last row.
func readRow(r *bufio.Reader) (Row, error) {
	key, err := binary.ReadUvarint(r)
	if err != nil {
		return Row{}, err
	}
	value, err := binary.ReadUvarint(r)
	if err == nil && max(key, value) > uint64(limit.Value) {
		err = errors.New("a row is too big")
	}
	if err != nil {
		return Row{}, unexpected(err)
	}
	b := make([]byte, key+value)
	if _, err := io.ReadFull(r, b); err != nil {
		return Row{}, unexpected(err)
	}
	return Row{Key: string(b[:key]), Value: b[key:]}, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Restore fills an empty directory, or one that does not exist, with the store
// that Backup wrote. A directory in which it failed or was killed holds no
// store that Open accepts.
func Restore(dir string, r io.Reader) error {
	lock, err := claim(dir)
	if err != nil {
		return err
	}
	defer release(lock)
	present, err := os.ReadDir(dir)
	if err != nil {
		return cannot("restore", dir, err)
	}
	if len(present) > 0 {
		return fault.Failedf("cannot restore into %s: it is not empty", dir).
			WithHint("choose another directory, or move what is there away")
	}
	zip, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil || zip.Comment != backupMark {
		return fault.Failedf("this is not a backup of walt").
			WithHint("a backup is made by: waltd backup FILE, or: ssh walt@SERVER advanced backup > FILE")
	}
	// The marker first: until badger's directory has its name, this is a store
	// that has lost its records.
	if err := mark(dir); err != nil {
		return err
	}
	temp := filepath.Join(dir, badgerDir+".new")
	if err := load(temp, newSpace(dir), bufio.NewReader(zip)); err != nil {
		err := cannot("restore", dir, err).WithHint("nothing was restored")
		return errors.Join(err, os.RemoveAll(temp), os.Remove(filepath.Join(dir, markerFile)))
	}
	if err := os.Rename(temp, filepath.Join(dir, badgerDir)); err != nil {
		return cannot("restore", dir, err)
	}
	return flush(dir)
}

// load makes badger's directory, which does not exist, of the rows of a backup.
func load(dir string, space *space, rows *bufio.Reader) (err error) {
	if err := space.check(); err != nil {
		return err
	}
	db, err := openBadger(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := found(db); err != nil {
		return err
	}
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	for {
		row, err := readRow(rows)
		if errors.Is(err, io.EOF) {
			return batch.Flush()
		}
		if err != nil {
			return fmt.Errorf("the backup is damaged or incomplete: %w", err)
		}
		if err := space.check(); err != nil {
			return err
		}
		if err := batch.SetEntry(badger.NewEntry([]byte(row.Key), seal(row.Key, row.Value))); err != nil {
			return err
		}
	}
}
