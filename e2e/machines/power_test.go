package machines

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Machines are switched off and on, over a restart of the server too; no more of them
// are on than there is room for; and they end when their server does not run.
func TestPowerOfMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {"etc/name": "default\n"}}, `memory = "700M"`)
	w.does("alice", "node create vm1 --ram 300M")
	w.refuses("alice", "node create vm2 --ram 401M", "1 machine takes 300 MiB of the 700 MiB that machines may take, and vm2 would take 401 MiB; nothing changed")
	w.refuses("alice", "node config vm1 ram=701M", "vm1 would take 701 MiB of memory, and machines of this server may take 700 MiB; nothing changed")
	w.does("alice", "node wait vm1")
	w.does("alice", "node off vm1")
	if ids := w.processes(); len(ids) > 0 {
		t.Errorf("it still runs: %v", ids)
	}
	if err := errors.Join(w.Stop(), w.Start()); err != nil {
		t.Fatal(err)
	}
	w.until("bob", "node show vm1", "alice switched it off at")
	w.refuses("alice", "node run vm1 true", "vm1 is off: alice switched it off")
	w.does("alice", "node on vm1")
	w.does("alice", "node wait vm1")
	for _, how := range []string{"", " --hard"} {
		out := w.does("alice", "device test vm1 --rounds 2"+how)
		if !regexp.MustCompile(`(?m)^Round 2 of 2: up after [0-9.]+ s \(kernel .*, initramfs .*, root .*, up .*\)$`).MatchString(out) || !strings.Contains(out, "vm1 came up in all 2 rounds (median ") {
			t.Errorf("a test says: %s", out)
		}
	}
	if log := w.does("alice", "log show --type state"); !strings.Contains(log, "vm1: up -> off: switched off") {
		t.Errorf("the log says: %s", log)
	}
	// A server that runs would start its machines again.
	stop := func() (string, error) {
		out, err := exec.Command(w.Waltd, "stop-machines", "--data", w.Data()).CombinedOutput()
		return string(out), err
	}
	if out, err := stop(); err == nil || !strings.Contains(out, "a server runs on the data") || len(w.processes()) != 1 {
		t.Errorf("while the server runs: %s, %v", out, err)
	}
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"waltd: ended 1 machine\n", "waltd: no machine of "} {
		if out, err := stop(); err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("after its end: %s, %v, want %s", out, err, want)
		}
	}
}
