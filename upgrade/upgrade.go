// Package upgrade brings the rows that an earlier version of the server wrote to
// the form that this version reads. It knows earlier forms of rows, which no
// other package does, and it runs before anything else uses the store. Its one
// surprising rule: it declares the forms that it reads and writes itself, and
// they stay as they are when the types of other packages change, since what a
// step did for one version of the server it must do for all later ones.
//
// To add a step for a change of rows that no released version has: append it to
// the steps of the last format. Else raise Format and add a list of steps. A
// step gets each row under a prefix; it may write any rows, and must be right
// when it meets rows that it wrote before, since an upgrade that was cut off
// starts again from the beginning. Then add to the test what becomes of the rows
// of testdata.
package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"walt/fault"
	"walt/state"
)

// Format is the form of the rows that this version reads and writes.
const Format = 2

// first is the format of stores that do not say theirs.
const first = 1

// formats has one row, which says the format of all others. It is written last.
var formats = state.NewTable[int]("format")

const formatKey = "rows"

// steps are what leads to each format from the one before.
var steps = map[int][]step{
	2: toFormat2,
}

// step changes the rows under a prefix, one at a time.
type step struct {
	prefix string
	change func(tx state.Tx, row state.Row) error
}

// atOnce is how many rows one transaction changes: a step may write a dozen rows
// for each and stays far below what a store takes.
const atOnce = 200

// Run brings the rows of a store to Format. Rows of a later one are a fault, and
// stay as they are. It may be killed at any moment, and finishes when it is run
// again; only the last transaction says that the rows have the new format.
func Run(ctx context.Context, s state.Store, log *slog.Logger) error {
	return run(ctx, s, atOnce, log)
}

func run(ctx context.Context, s state.Store, atOnce int, log *slog.Logger) error {
	format, err := state.Read(ctx, s, formatOf)
	if err != nil {
		return err
	}
	if err := known(format); err != nil {
		return err
	}
	if format == 0 { // there is nothing to change
		_, err := s.Update(ctx, func(tx state.Tx) error { return formats.Put(tx, formatKey, Format) })
		return err
	}
	for next := format + 1; next <= Format; next++ {
		log.Info("bringing the data to the format of this version", "from", next-1, "to", next)
		for _, step := range steps[next] {
			if err := step.run(ctx, s, atOnce); err != nil {
				return fmt.Errorf("bring %s to format %d: %w", step.prefix, next, err)
			}
		}
		_, err := s.Update(ctx, func(tx state.Tx) error { return formats.Put(tx, formatKey, next) })
		if err != nil {
			return err
		}
	}
	return nil
}

// Known returns a fault when the rows of a store are of a later format, as Run does.
func Known(rows []state.Row) error {
	for _, row := range rows {
		if row.Key != "format/"+formatKey {
			continue
		}
		var format int
		if err := json.Unmarshal(row.Value, &format); err != nil {
			return fmt.Errorf("the format of the rows: %w", err)
		}
		return known(format)
	}
	return nil
}

func known(format int) error {
	if format > Format {
		return fault.Failedf("the data are of format %d, which a newer version of walt wrote; this version knows formats up to %d", format, Format).
			WithHint("run that version, or restore a backup that this version made into another data directory")
	}
	return nil
}

// formatOf is the format of a store, 0 of one without rows.
func formatOf(r state.Reader) (int, error) {
	format, found, err := formats.Find(r, formatKey)
	if found || err != nil {
		return format, err
	}
	for _, err := range r.Keys("", "") {
		return first, err
	}
	return 0, nil
}

// run changes all rows in transactions of so many rows.
func (s step) run(ctx context.Context, store state.Store, atOnce int) error {
	for start, more := "", true; more; {
		next, n := "", 0
		_, err := store.Update(ctx, func(tx state.Tx) error {
			next, n = "", 0
			for row, err := range tx.Scan(s.prefix, start) {
				if err != nil {
					return err
				}
				if n++; n > atOnce {
					next = row.Key
					return nil
				}
				if err := s.change(tx, row); err != nil {
					return fmt.Errorf("%s: %w", row.Key, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		start, more = next, next != ""
	}
	return nil
}
