// Package pause waits between one try and the next. It tries nothing by itself.
// Its one surprising rule: what failed often is left alone for 64 times the first
// pause, and never for longer. How long the first one is, says who tries:
// images/defaultdownload.go for default images, images/source/talk.go for registries
// that are busy, power/reconcile.go for switches.
package pause

import (
	"context"
	"time"
)

// mostDoublings is how often a pause doubles.
const mostDoublings = 6

// For waits that long. It fails with ctx's error when that ends first.
func For(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Doubled is how long to wait after the failure of a try that others failed
// before: as long as the first time, and twice as long for each of them.
func Doubled(first time.Duration, before int) time.Duration {
	return first << min(before, mostDoublings)
}
