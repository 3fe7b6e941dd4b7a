package journal

import (
	"context"
	"errors"
	"slices"

	"walt/state"
)

// typed holds the lines that each user typed in shells, the newest last.
var typed = state.NewTable[[]string]("typed")

// maxTyped is how many lines are kept for a user; maxTypedLine is how long, in
// bytes, a line may be to be kept.
const (
	maxTyped     = 500
	maxTypedLine = 1024
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
		lines = append(lines, line)
		return typed.Put(tx, user, slices.Clone(lines[max(0, len(lines)-maxTyped):]))
	})
}
