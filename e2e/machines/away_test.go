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

// backLimit is how long after that six machines may take until all of them go on, one
// after the other; left to itself, Linux would try again up to two minutes later.
const backLimit = 25 * time.Second

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
		// It looks at a file of the image again and again, and notes what it gets.
		w.until("alice", fmt.Sprintf("node run vm%d (while sleep 1; do echo 3 > /proc/sys/vm/drop_caches; wc -c < /part >> /tmp/read; done) < /dev/null > /dev/null 2>&1 & echo begun", i), "begun\n")
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
	w.until("alice", "node run my-nodes echo here", "here\n")
	soon := func(what string) {
		t.Helper()
		took := time.Since(back)
		if t.Logf("%s %v after the server is back", what, took.Round(time.Millisecond)); took > backLimit {
			t.Errorf("%s later than %v after the server is back", what, backLimit)
		}
	}
	soon("the machines answer")
	for i := range boots {
		vm := fmt.Sprintf("vm%d", i)
		w.does("alice", "node run "+vm+" rm /tmp/read")
		w.until("alice", "node run "+vm+" cat /tmp/read", "1048576\n")
		soon(vm + " reads")
		if now := w.bootID("alice", vm); now != boots[i] {
			t.Errorf("%s was rebooted", vm)
		}
	}
	w.up("alice", "my-nodes")
	if log := w.does("alice", "log show --type state"); strings.Contains(log, "rebooted") {
		t.Errorf("the log says: %s", log)
	}
}
