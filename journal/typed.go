package journal

import (
	"context"
	"errors"

	"walt/state"
)

// typed holds the lines that each user typed in shells, the newest last.
var typed = state.NewTable[[]string]("typed")

// maxTyped is how many lines are kept for a user, maxTypedBytes how many bytes
// in all, a row of the store; a line longer than maxTypedLine is not kept.
const (
	maxTyped      = 500
	maxTypedBytes = 64 << 10
	maxTypedLine  = 1024
)

// Lines returns what the user typed in shells, the newest last.
func (j *Journal) Lines(ctx context.Context, user string) (lines []string, err error) {
	err = j.store.View(ctx, func(r state.Reader) (err error) {
		lines, err = typed.Get(r, user)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		return err
	})
	return lines, err
}

// Append adds a line to what the user typed, unless it repeats the last one.
func (j *Journal) Append(ctx context.Context, user, line string) error {
	if len(line) > maxTypedLine {
		return nil
	}
	return j.store.Update(ctx, func(tx state.Tx) error {
		lines, err := typed.Get(tx, user)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		if len(lines) > 0 && lines[len(lines)-1] == line {
			return nil
		}
		return typed.Put(tx, user, newest(append(lines, line)))
	})
}

// newest returns as many of the last lines as are kept.
func newest(lines []string) []string {
	first, size := len(lines), 0
	for first > 0 && len(lines)-first < maxTyped {
		if size += len(lines[first-1]); size > maxTypedBytes {
			break
		}
		first--
	}
	return lines[first:]
}
