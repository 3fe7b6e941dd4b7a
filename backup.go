package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"walt/backup"
	"walt/fault"
	"walt/state"
	"walt/state/badger"
)

// stateDir is where a data directory holds the store.
func stateDir(data string) string { return filepath.Join(data, "state") }

// storeOf writes a backup of the store.
func storeOf(s state.Store) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error { return state.Backup(ctx, s, w) }
}

// backup writes all data as one archive while the server runs.
func (s *server) backup(ctx context.Context, w io.Writer) (what string, err error) {
	defer s.library.Pause()()
	c, err := backup.Write(ctx, s.data, storeOf(s.store), w)
	return c.String(), err
}

// backupCommand is "waltd backup FILE": the copy of a stopped server's data.
func backupCommand(ctx context.Context, args []string) (err error) {
	c, names, err := configured("backup", args, "FILE")
	if err != nil {
		return err
	}
	if _, err := os.Stat(stateDir(c.Data)); err != nil { // Open would make one
		return fault.Failedf("there is no data to back up: %v", err).WithHint("name the data directory with --data DIR")
	}
	store, err := badger.Open(stateDir(c.Data), slog.New(slog.DiscardHandler))
	if f := fault.As(err); f != nil {
		return f.WithHint("%s\nof a running server: ssh walt@SERVER advanced backup > FILE", f.Hint)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	what, err := writeArchive(ctx, c.Data, storeOf(store), names[0])
	if err == nil {
		fmt.Fprintf(os.Stderr, "waltd: wrote %s to %s\n  it holds private keys: keep it where nobody else reads it\n", what, names[0])
	}
	return err
}

// restoreCommand is "waltd restore FILE": a data directory made of a backup.
func restoreCommand(ctx context.Context, args []string) error {
	c, names, err := configured("restore", args, "FILE")
	if err != nil {
		return err
	}
	f, err := os.Open(names[0])
	if err != nil {
		return fault.Failedf("cannot read the backup: %v", err).WithHint("name the file that backup wrote")
	}
	defer f.Close()
	what, err := backup.Restore(ctx, c.Data, func(data string, r io.Reader) error {
		return badger.Restore(stateDir(data), r)
	}, f)
	if err == nil {
		fmt.Fprintf(os.Stderr, "waltd: restored %s into %s\n", what, c.Data)
	}
	return err
}

// salvageCommand is "waltd salvage DIR FILE": what can still be read of a
// damaged store, as a backup.
func salvageCommand(ctx context.Context, args []string) error {
	s := newSettings("salvage")
	names, err := s.parse(args, "DIR", "FILE")
	if err != nil {
		return err
	}
	data, file := names[0], names[1]
	rows, lost, err := badger.Salvage(stateDir(data))
	if err != nil {
		return err
	}
	store := func(ctx context.Context, w io.Writer) error {
		return state.WriteBackup(ctx, func(yield func(state.Row, error) bool) {
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		}, w)
	}
	what, err := writeArchive(ctx, data, store, file)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "waltd: wrote %s to %s\n  rows that could be read: %d; to go on with them: waltd restore --data DIR %s\n", what, file, len(rows), file)
	for _, what := range lost {
		fmt.Fprintf(os.Stderr, "  lost: %s\n", what)
	}
	if len(lost) > 0 {
		return fault.Failedf("the store could not be read as a whole: parts that are lost: %d", len(lost)).
			WithHint("what was done last may be missing: check whose nodes and images there are before users come")
	}
	return nil
}

// writeArchive writes a backup into a file that does not exist yet.
func writeArchive(ctx context.Context, data string, store func(context.Context, io.Writer) error, file string) (backup.Contents, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return backup.Contents{}, fault.Failedf("cannot write the backup: %v", err).WithHint("name a file that does not exist yet")
	}
	c, err := backup.Write(ctx, data, store, f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return c, errors.Join(err, os.Remove(file))
	}
	return c, nil
}
