package driver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
)

// A device that does late what it was told: who gives the power back does not take the state
// of before for the one that it has in the end.
func TestLateEffectIsNotTakenForPower(t *testing.T) {
	for at := time.Second; at < 15*time.Second; at += time.Second {
		synctest.Test(t, func(t *testing.T) {
			r := &rack{shows: 10 * time.Second}
			d := rig(t, r)
			ctx, cancel := context.WithTimeout(t.Context(), at)
			defer cancel()
			err := d.Cycle(ctx, feed(t, "rack1:1"), 5*time.Second)
			time.Sleep(time.Minute)
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.is["1"] == Off {
				t.Errorf("cut short after %v (%v) it is off", at, err)
			}
		})
	}
}

// way is a device whose outlets are neither on nor off for some time after they were switched.
type way struct {
	takes time.Duration
	on    bool
	since time.Time
}

func (w *way) Status(context.Context, Target) (State, error) {
	if time.Since(w.since) < w.takes {
		return Unknown, nil
	}
	return stateOf(w.on), nil
}

func (w *way) Switch(_ context.Context, _ Target, on bool) error {
	w.on, w.since = on, time.Now()
	return nil
}

func (w *way) Close() error { return nil }

// What is on its way is waited for, and not for ever.
func TestOnItsWay(t *testing.T) {
	for takes, want := range map[time.Duration]string{10 * time.Second: "", time.Hour: "rack1:1 was told to be off, and says 20s later that it is unknown"} {
		synctest.Test(t, func(t *testing.T) {
			d := New()
			if err := d.Set([]Driver{{Name: "rack1", Means: &way{takes: takes, on: true}}}, nil); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			err := d.Switch(t.Context(), feed(t, "rack1:1"), false)
			if waited := time.Since(begun); waited < 10*time.Second {
				t.Errorf("it was waited for %v", waited)
			}
			if want == "" && err != nil || want != "" && !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// tardy is a device that answers no request to switch an outlet off, and does it later.
type tardy struct{ rack }

func (d *tardy) Switch(ctx context.Context, t Target, on bool) error {
	if on {
		return d.rack.Switch(ctx, t, true)
	}
	time.AfterFunc(15*time.Second, func() { d.mu.Lock(); d.is[t.Port] = Off; d.mu.Unlock() })
	<-ctx.Done()
	return ctx.Err()
}

// What a device was told, and did not answer, it may do when its power was given back already.
func TestPowerIsGivenBackAfterLateEffects(t *testing.T) {
	for what, does := range map[string]func(context.Context, *Drivers, Feed) error{
		"cycle": func(ctx context.Context, d *Drivers, f Feed) error { return d.Cycle(ctx, f, 5*time.Second) },
		"off":   func(ctx context.Context, d *Drivers, f Feed) error { return d.Switch(ctx, f, false) },
	} {
		synctest.Test(t, func(t *testing.T) {
			d := New()
			device := &tardy{rack{is: map[string]State{}}}
			if err := d.Set([]Driver{{Name: "rack1", Means: device}}, nil); err != nil {
				t.Fatal(err)
			}
			err := does(t.Context(), d, feed(t, "rack1:1"))
			time.Sleep(time.Minute)
			is, failed := d.Status(t.Context(), feed(t, "rack1:1"))
			if want := "rack1 did not answer within 10s"; err == nil || fault.Reason(err) != want || is != On || failed != nil {
				t.Errorf("%s: %v, then %s, %v", what, err, is, failed)
			}
		})
	}
}
