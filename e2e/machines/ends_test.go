package machines

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"walt/netboot/boottest"
)

// Up and down are facts, and why is told.
func TestEndsOfAMachine(t *testing.T) {
	boottest.NeedLong(t)
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {"etc/name": "default\n"}})
	w.does("alice", "node create vm1")
	w.does("alice", "node wait vm1")
	if out := w.does("alice", "node show vm1"); !strings.Contains(out, "\nruns     os\n") {
		t.Errorf("it is %s", out)
	}

	// Its agent is gone, and something answers in place of its SSH for a while: for as
	// long it is up. Then it is unreachable, for it still runs.
	begun := time.Now()
	w.does("alice", "node run vm1 setsid sh -c 'sleep 1; kill -9 $(busybox pidof walt-agent); busybox timeout 25 busybox nc -ll -p 22 -e true' >/dev/null 2>&1 &")
	w.until("alice", "node show vm1 --json", `"state":"unreachable"`)
	if took := time.Since(begun); took < 26*time.Second {
		t.Errorf("its SSH answered, and it was taken for unreachable after %v", took)
	}
	if out := w.does("alice", "node show vm1"); !strings.Contains(out, "\nreason   nothing came of it for 15s") || len(w.processes()) != 1 {
		t.Errorf("it is %s", out)
	}
	w.does("alice", "node reboot vm1")
	w.does("alice", "node wait vm1")

	// Its kernel gives up: it comes back by itself.
	if _, err := w.Run("", "alice", "node", "run", "vm1", "echo c > /proc/sysrq-trigger"); err == nil || !strings.Contains(err.Error(), "vm1 went down: kernel panic: ") {
		t.Errorf("who did it is told: %v", err)
	}
	w.until("alice", "log show --type state", "up -> booting: kernel panic: sysrq triggered crash")
	w.does("alice", "node wait vm1")

	// Somebody switches it off from inside.
	if _, err := w.Run("", "alice", "node", "run", "vm1", "poweroff"); err != nil {
		t.Log("poweroff:", err) // the connection may end first
	}
	w.until("alice", "log show --type state", "up -> off: switched off from inside")
	var doc struct {
		Nodes []struct{ State, Reason string }
	}
	if err := json.Unmarshal([]byte(w.does("alice", "node show vm1 --json")), &doc); err != nil || doc.Nodes[0].State != "off" || doc.Nodes[0].Reason != "switched off from inside" {
		t.Errorf("it is %+v, %v", doc, err)
	}
}
