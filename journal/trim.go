package journal

import (
	"context"
	"log/slog"
	"time"

	"walt/state"
)

const (
	keepEvents = 100_000   // that the journal holds
	trimEvery  = time.Hour // how often the oldest beyond that are deleted
	trimStep   = 100       // rows that one transaction deletes
)

// Run keeps the journal bounded until ctx ends.
func (j *Journal) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		if err := j.trim(ctx, keepEvents); err != nil && ctx.Err() == nil {
			log.Error("trim the journal", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// trim deletes the oldest events beyond the newest keep.
func (j *Journal) trim(ctx context.Context, keep int) error {
	keys, err := state.Read(ctx, j.store, func(r state.Reader) ([]string, error) { return events.AllKeys(r, "") })
	if err != nil {
		return err
	}
	for excess := keys[:max(0, len(keys)-keep)]; len(excess) > 0; {
		step := excess[:min(trimStep, len(excess))]
		excess = excess[len(step):]
		_, err := j.store.Update(ctx, func(tx state.Tx) error {
			for _, key := range step {
				if err := events.Delete(tx, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
