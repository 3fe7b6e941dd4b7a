// Package history keeps what users typed in their shells, for the arrow keys of
// the next one, and the moments that they marked. It is not the log of what happened, which is the journal. Its
// one surprising rule: it keeps nothing of who is not a user (any more), since
// whoever gets the name later must not read it.
package history

import (
	"context"
	"errors"

	"walt/auth"
	"walt/state"
)

// table holds the lines that each user typed, the newest last.
var table = state.NewTable[[]string]("typed")

// maxLines is how many lines are kept for a user, maxBytes how many bytes in
// all, a row of the store; a line longer than maxLine is not kept.
const (
	maxLines = 500
	maxBytes = 64 << 10
	maxLine  = 1024
)

// History is the shell history of all users of one store.
type History struct{ store state.Store }

// New returns the history in the store.
func New(store state.Store) *History { return &History{store} }

// Lines returns what the user typed, the newest last.
func (h *History) Lines(ctx context.Context, user auth.Name) ([]string, error) {
	return state.Read(ctx, h.store, func(r state.Reader) ([]string, error) {
		lines, _, err := table.Find(r, string(user))
		return lines, err
	})
}

// Append adds a line to what the user typed, unless it repeats the last one.
// That the user was removed while connected is no error: the line is dropped.
func (h *History) Append(ctx context.Context, user auth.Name, line string) error {
	if len(line) > maxLine {
		return nil
	}
	_, err := h.store.Update(ctx, func(tx state.Tx) error {
		known, err := auth.Exists(tx, user)
		if err != nil || !known {
			return err
		}
		lines, _, err := table.Find(tx, string(user))
		if err != nil {
			return err
		}
		if len(lines) > 0 && lines[len(lines)-1] == line {
			return nil
		}
		return table.Put(tx, string(user), newest(append(lines, line)))
	})
	return err
}

// Forget deletes, within tx, what a user typed, and marked, who is removed.
func Forget(tx state.Tx, user auth.Name) error {
	return errors.Join(table.Delete(tx, string(user)), marks.Delete(tx, string(user)))
}

// newest returns as many of the last lines as are kept.
func newest(lines []string) []string {
	first, size := len(lines), 0
	for first > 0 && len(lines)-first < maxLines {
		if size += len(lines[first-1]); size > maxBytes {
			break
		}
		first--
	}
	return lines[first:]
}
