package machines

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"walt/netboot/boottest"
)

// away is for how long the server is not there while machines run.
func away(t *testing.T) time.Duration {
	if text := os.Getenv("WALT_AWAY"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return 2 * time.Minute
}

// backLimit is how long after that a machine may take until it has read a file: left to
// itself, Linux tries again up to two minutes later.
const backLimit = 20 * time.Second

// Six machines that boot at once, and a server that is killed and stays away: they go
// on by what is in their memory, wait for what is not, and answer when it is back.
func TestServerAway(t *testing.T) {
	boottest.NeedLong(t)
	w := newWorld(t, map[string]map[string]string{
		"waltplatform/pc-x86-64-default": {"part": strings.Repeat("0123456789abcdef", 1<<16)},
	})
	const machines = 6
	begun := time.Now()
	for i := range machines {
		w.does("alice", fmt.Sprintf("node create vm%d --model pc-x86-64 --ram 256M", i))
	}
	w.up("alice", "my-nodes")
	t.Logf("%d machines are up after %v", machines, time.Since(begun).Round(time.Second))
	var boots [machines]string
	for i := range boots {
		boots[i] = w.bootID("alice", fmt.Sprintf("vm%d", i))
		// It looks at a file of the image again and again, and notes what it gets and when.
		w.until("alice", fmt.Sprintf("node run vm%d (while sleep 1; do echo 3 > /proc/sys/vm/drop_caches; echo $(wc -c < /part) $(date +%%s) >> /tmp/read; done) < /dev/null > /dev/null 2>&1 & echo begun", i), "begun\n")
	}
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	gone := time.NewTimer(away(t))
	<-gone.C
	if ids := w.processes(); len(ids) != machines {
		t.Fatalf("%d machines run without the server", len(ids))
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	if out := w.does("alice", "node show"); strings.Count(out, " up ") != machines {
		t.Errorf("at first they are: %s", out)
	}
	for i := range boots {
		vm := fmt.Sprintf("vm%d", i)
		if took := w.readsAgain(vm, back); took > backLimit {
			t.Errorf("%s reads %v after the server is back", vm, took)
		} else {
			t.Logf("%s reads %v after the server is back", vm, took)
		}
		if now := w.bootID("alice", vm); now != boots[i] {
			t.Errorf("%s was rebooted", vm)
		}
	}
	w.up("alice", "my-nodes")
	if log := w.does("alice", "log show --type state"); strings.Contains(log, "rebooted") {
		t.Errorf("the log says: %s", log)
	}
}

// readsAgain returns how long after a moment a machine noted that it had read its file,
// by its own clock: how busy the host is with whoever asks for it does not count.
func (w *world) readsAgain(vm string, since time.Time) time.Duration {
	w.t.Helper()
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); {
		out, err := w.Run("", "alice", "node", "run", vm, "tail", "-n", "100", "/tmp/read")
		if err != nil {
			continue
		}
		for line := range strings.Lines(out) {
			var size, when int64
			if _, err := fmt.Sscan(line, &size, &when); err != nil || size != 1<<20 {
				w.t.Fatalf("%s noted %q", vm, line)
			}
			if at := time.Unix(when, 0); at.After(since) {
				return at.Sub(since)
			}
		}
	}
	w.t.Fatalf("%s reads nothing", vm)
	return 0
}
