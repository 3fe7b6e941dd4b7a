package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/e2e/lab"
)

// TestSweep switches a whole lab, 200 nodes on 10 devices, off to save power, and on again since
// somebody takes all of it: each device is asked one thing at a time, outlets come on one
// after the other, and others go on working meanwhile.
func TestSweep(t *testing.T) {
	t.Parallel()
	const devices, outlets = 10, 20
	l := startLab(t)
	var strips []*lab.Strip
	declared, nodes, supplies := "\n[power]\nidle = \"1s\"\n", "device add other --mac 52:54:00:00:08:00 --model rpi-3-b\n", ""
	for i := range devices {
		s := lab.NewStrip(20 * time.Millisecond)
		t.Cleanup(s.Close)
		strips = append(strips, s)
		declared += s.Driver(fmt.Sprintf("strip%d", i))
		for at := range outlets {
			nodes += fmt.Sprintf("device add n%d-%d --mac 52:54:00:00:07:%02x --model rpi-3-b\n", i, at, i*outlets+at)
			supplies += fmt.Sprintf("device config n%d-%d power=strip%d:%d\n", i, at, i, at)
		}
	}
	config, err := os.ReadFile(l.Config)
	if err = errors.Join(err, os.WriteFile(l.Config, append(config, declared...), 0o644), l.Stop(), l.Start(), l.Add("", "alice", "bob")); err != nil {
		t.Fatal(err)
	}
	plugIn(t, l, nodes)
	if _, err := l.Run(supplies, lab.Admin); err != nil {
		t.Fatal(err)
	}
	dark := func() (n int) {
		for _, s := range strips {
			n += s.Dark()
		}
		return n
	}
	are := func(want int) error {
		if n := dark(); n != want {
			return fmt.Errorf("%d outlets are off, not %d", n, want)
		}
		return nil
	}
	if err := eventually(func() error { return are(devices * outlets) }); err != nil {
		t.Fatal(err)
	}

	client, err := l.Dial("bob")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	taken := make(chan error, 1)
	go func() { // ends with the command
		_, err := l.Run("", "alice", "node acquire n[0-9]*")
		taken <- err
	}()
	// It takes 40 s at least. What others do ends before that.
	meanwhile := false
	for waiting := true; waiting; {
		select {
		case err = <-taken:
			waiting = false
		case <-time.After(time.Second):
			for _, command := range []string{"node acquire other", "node release other", "power show", "node show --all"} {
				if out, err := runOn(client, command); err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
			}
			if dark() > 0 {
				meanwhile = true
			}
		}
	}
	if err := errors.Join(err, are(0)); err != nil {
		t.Fatal(err)
	}
	if !meanwhile {
		t.Error("others waited until all was on")
	}
	var lit []time.Time
	for i, s := range strips {
		if lit = append(lit, s.Lit()...); s.Busiest() != 1 {
			t.Errorf("strip %d was asked %d things at a time", i, s.Busiest())
		}
	}
	slices.SortFunc(lit, time.Time.Compare)
	if took := lit[len(lit)-1].Sub(lit[0]); len(lit) != devices*outlets || took < 30*time.Second {
		t.Errorf("%d outlets came on within %v", len(lit), took)
	}
	if out, err := l.Run("", lab.Admin, "power show --json"); err != nil || strings.Contains(out, `"power":"to be on"`) {
		t.Errorf("%s, %v", out, err)
	}
}
