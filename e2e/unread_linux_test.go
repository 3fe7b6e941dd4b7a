package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// TestUnreadOutput has many clients ask for the whole log and read nothing of it.
// That used to take several megabytes for each, for as long as they stayed. Whoever
// reads in the end gets all of it.
func TestUnreadOutput(t *testing.T) {
	t.Parallel()
	program, err := shipped() // the race detector takes ten times the memory
	if err != nil {
		t.Fatal(err)
	}
	l := startLabOf(t, program)
	const nodes, rounds, sessions, clients = 200, 25, 8, 40
	var script strings.Builder
	for i := range nodes {
		fmt.Fprintf(&script, "device add n%d --mac 52:54:03:00:00:%02x --model rpi-3-b\n", i, i)
	}
	plugIn(t, l, script.String())
	var filling errgroup.Group
	for first := range sessions { // an event for each node and command: of a set there would be one
		filling.Go(func() error {
			var script strings.Builder
			for i := first; i < nodes; i += sessions {
				fmt.Fprintf(&script, "node acquire n%[1]d\nnode release n%[1]d\n", i)
			}
			for range rounds / 5 { // none takes so long that it seems to hang
				if _, err := l.Run(strings.Repeat(script.String(), 5), lab.Admin); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := filling.Wait(); err != nil {
		t.Fatal(err)
	}
	before := resident(t, l)
	outs := make([]io.Reader, clients)
	var asking errgroup.Group
	for i := range outs {
		asking.Go(func() (err error) {
			outs[i], err = ask(t, l, "log show --history full --json")
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		t.Fatal(err)
	}
	// The server works until all of them are stuck.
	idle := 0
	for used := ticks(t, l); idle < 20; time.Sleep(25 * time.Millisecond) {
		idle++
		if now := ticks(t, l); now > used {
			used, idle = now, 0
		}
	}
	const most = 1.0
	each := (resident(t, l) - before) / clients
	t.Logf("%.2f MiB for each client", each)
	if each > most {
		t.Errorf("each client that reads nothing takes %.1f MiB", each)
	}
	var log struct{ Events []json.RawMessage }
	if err := json.NewDecoder(outs[0]).Decode(&log); err != nil {
		t.Fatal(err)
	}
	if n := len(log.Events); n < 2*nodes*rounds {
		t.Errorf("the log has %d events", n)
	}
}

// ask starts a command; nothing of its output is read but by the caller, and by the
// library 2 MiB.
func ask(t *testing.T, l *lab.Lab, command string) (io.Reader, error) {
	c, err := l.Dial(lab.Admin)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	s, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return out, s.Start(command)
}

// resident is the memory that the server has in RAM, in MiB (proc(5)).
func resident(t *testing.T, l *lab.Lab) float64 {
	var size, pages int
	scanProc(t, l, "statm", &size, &pages)
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// ticks is the processor time that the server has used, in hundredths of a second.
func ticks(t *testing.T, l *lab.Lab) int {
	var skip string
	var number, user, system int
	scanProc(t, l, "stat", &number, &skip, &skip, &number, &number, &number, &number, &number, &number, &number, &number, &number, &number, &user, &system)
	return user + system
}

func scanProc(t *testing.T, l *lab.Lab, file string, fields ...any) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", l.Pid(), file))
	if err == nil {
		_, err = fmt.Sscan(string(text), fields...)
	}
	if err != nil {
		t.Fatal(err)
	}
}
