package state

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"walt/fault"
)

// A backup is the rows of one snapshot in key order: for each, the length of
// the key and of the value (unsigned varints), the key, the value. It is packed
// by gzip, which tells a file that was cut short or damaged, and whose comment
// tells a backup from any other file. It is of no kind of store: what one wrote
// another reads.
const backupMark = "walt backup 1"

// maxBackupRow is the size in bytes that no key and no value in a backup has: a
// damaged length is not to take all memory.
const maxBackupRow = 16 << 20

// Backup writes a consistent copy of a store, as of now, to w. What fails midway
// has written nothing that Restore accepts. A store that can verify more than
// what it reads does so before, in its method Verify.
func Backup(ctx context.Context, s Store, w io.Writer) error {
	err := s.View(ctx, func(r Reader) error {
		if v, ok := s.(interface{ Verify() error }); ok {
			if err := v.Verify(); err != nil {
				return err
			}
		}
		return WriteBackup(ctx, r.Scan("", ""), w)
	})
	if err != nil {
		return fmt.Errorf("write a backup: %w", err)
	}
	return nil
}

// WriteBackup writes rows, which come in key order, as Backup does those of a store.
func WriteBackup(ctx context.Context, rows iter.Seq2[Row, error], w io.Writer) error {
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	zip.Comment = backupMark
	for row, err := range rows {
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
	if err == nil && max(key, value) > maxBackupRow {
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

// Restore fills an empty store with what Backup wrote. It takes as many
// transactions as that needs: a store in which it failed or was killed holds a
// part, and is to be dropped.
func Restore(ctx context.Context, s Store, r io.Reader) error {
	err := s.View(ctx, func(r Reader) error {
		for _, err := range r.Keys("", "") {
			if err == nil {
				err = fault.Failedf("cannot restore into a store that is not empty")
			}
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	zip, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil || zip.Comment != backupMark {
		return fault.Failedf("this is not a backup of walt").
			WithHint("a backup is made by: waltd backup FILE, or: ssh walt@SERVER advanced backup > FILE")
	}
	rows, limit := bufio.NewReader(zip), s.Limit()
	var step []Row // of one transaction
	bytes := 0     // of step, as Limit counts them
	write := func(tx Tx) error {
		for _, row := range step {
			if err := tx.Put(row.Key, row.Value); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		row, err := readRow(rows)
		if errors.Is(err, io.EOF) {
			_, err := s.Update(ctx, write)
			return err
		}
		if err != nil {
			return fmt.Errorf("the backup is damaged or incomplete: %w", err)
		}
		size := len(row.Key) + len(row.Value) + RowBytes
		if len(step) == limit.Rows || bytes+size > limit.Bytes {
			if _, err := s.Update(ctx, write); err != nil {
				return err
			}
			step, bytes = nil, 0
		}
		step, bytes = append(step, row), bytes+size
	}
}
