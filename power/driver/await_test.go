package driver

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/await"
)

// Who waits is told for what, as long as that lasts.
func TestWhatIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		what string
		rack *rack
		do   func(context.Context, *Drivers, Feed) error
		done bool
		want string
	}{
		{
			"a cycle", &rack{shows: time.Second},
			func(ctx context.Context, d *Drivers, f Feed) error { return d.Cycle(ctx, f, 5*time.Second) }, true,
			"+switching rack1:7 off and on, +rack1:7 was told to be off, -rack1:7 was told to be off, +rack1:7 off for 5s, -rack1:7 off for 5s, " +
				"+rack1:7 was told to be on, -rack1:7 was told to be on, -switching rack1:7 off and on",
		},
		{
			"a silent device", &rack{silent: true},
			func(ctx context.Context, d *Drivers, f Feed) error { return d.Switch(ctx, f, true) }, false,
			"+switching rack1:7 on, +asking rack1 again, -asking rack1 again, -switching rack1:7 on",
		},
		{
			"one that lies", &rack{lies: true},
			func(ctx context.Context, d *Drivers, f Feed) error { return d.Switch(ctx, f, false) }, false,
			"+switching rack1:7 off, +rack1:7 was told to be off, -rack1:7 was told to be off, +switching rack1:7 on again, " +
				"+rack1:7 was told to be on, -rack1:7 was told to be on, -switching rack1:7 on again, -switching rack1:7 off",
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var told []string
				note := func(s string) { mu.Lock(); told = append(told, s); mu.Unlock() }
				ctx := await.Watched(t.Context(), func(node, what string) func() {
					if node != "n" {
						t.Errorf("%s waits for %s", node, what)
					}
					note("+" + what)
					return func() { note("-" + what) }
				})
				if err := c.do(ctx, rig(t, c.rack), feed(t, "rack1:7")); (err == nil) != c.done {
					t.Error(err)
				}
				if got := strings.Join(told, ", "); got != c.want {
					t.Errorf("told %s\nwant %s", got, c.want)
				}
			})
		})
	}
}
