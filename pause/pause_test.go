package pause

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := For(t.Context(), time.Hour); err != nil || time.Since(begin) != time.Hour {
			t.Errorf("after %v: %v, want an hour", time.Since(begin), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		if err := For(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("after %v: %v, want the end of ctx in a minute", time.Since(begin), err)
		}
	})
}

func TestDoubled(t *testing.T) {
	for before, want := range map[int]time.Duration{
		0: 2 * time.Second, 1: 4 * time.Second, 5: 64 * time.Second, 6: 128 * time.Second, 7: 128 * time.Second, 1000: 128 * time.Second,
	} {
		if got := Doubled(2*time.Second, before); got != want {
			t.Errorf("after %d failures: %v, want %v", before, got, want)
		}
	}
}
