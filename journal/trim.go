package journal

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"walt/state"
)

const (
	keepEvents  = 100_000   // that the journal holds
	keepStates  = 100_000   // of nodes that came up or went down, which it holds besides
	keepRefused = 10_000    // logins that were refused, which it holds besides
	trimEvery   = time.Hour // how often the oldest beyond that are deleted
	trimAfter   = 5000      // logins refused, whichever comes first
	trimStep    = 100       // rows that one transaction deletes
)

// refusedMark ends the key of a login that was refused: strangers make those,
// and must not push out what happened in the lab. stateMark ends that of a node
// that came up or went down: at each start of the server many of them do.
const (
	refusedMark = "r"
	stateMark   = "s"
)

// Run keeps the journal bounded until ctx ends.
func (j *Journal) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		if err := j.trim(ctx, keepEvents, keepStates, keepRefused); err != nil && ctx.Err() == nil {
			log.Error("trim the journal", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-j.full:
		}
	}
}

// trim deletes the oldest events beyond the newest keep, and the oldest states of
// nodes and refused logins beyond the newest of those.
func (j *Journal) trim(ctx context.Context, keep, states, refused int) error {
	keys, err := state.Read(ctx, j.store, func(r state.Reader) ([]string, error) { return events.AllKeys(r, "") })
	if err != nil {
		return err
	}
	var excess []string
	for _, key := range slices.Backward(keys) {
		left := &keep
		switch {
		case strings.HasSuffix(key, refusedMark):
			left = &refused
		case strings.HasSuffix(key, stateMark):
			left = &states
		}
		if *left--; *left < 0 {
			excess = append(excess, key)
		}
	}
	for step := range slices.Chunk(excess, trimStep) {
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
