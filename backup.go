package main

import (
	"context"
	"errors"
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
func (s *server) backup(ctx context.Context, w io.Writer) error {
	defer s.library.Pause()()
	return backup.Write(ctx, s.data, storeOf(s.store), w)
}

// backupCommand is "waltd backup FILE": the copy of a stopped server's data.
func backupCommand(ctx context.Context, args []string) (err error) {
	s := newSettings("backup")
	names, err := s.parse(args, "FILE")
	if err != nil {
		return err
	}
	c, err := s.load()
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
	f, err := os.OpenFile(names[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.Failedf("cannot write the backup: %v", err).WithHint("name a file that does not exist yet")
	}
	if err := errors.Join(backup.Write(ctx, c.Data, storeOf(store), f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(names[0]))
	}
	return nil
}

// restoreCommand is "waltd restore FILE": a data directory made of a backup.
func restoreCommand(ctx context.Context, args []string) error {
	s := newSettings("restore")
	names, err := s.parse(args, "FILE")
	if err != nil {
		return err
	}
	c, err := s.load()
	if err != nil {
		return err
	}
	f, err := os.Open(names[0])
	if err != nil {
		return fault.Failedf("cannot read the backup: %v", err).WithHint("name the file that backup wrote")
	}
	defer f.Close()
	return backup.Restore(ctx, c.Data, func(data string, r io.Reader) error {
		return badger.Restore(stateDir(data), r)
	}, f)
}
