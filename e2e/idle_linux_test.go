package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"walt/e2e/lab"
)

// TestIdle leaves a server alone that has a node and nothing to do:
// it sleeps. Two loops that looked for work twenty times a second each used to wake it
// more than two hundred times.
func TestIdle(t *testing.T) {
	t.Parallel()
	const most = 20 // wake-ups a second, of all its threads
	l := startLab(t)
	plugIn(t, l, "device add n1 --mac 52:54:03:00:00:01 --model rpi-3-b\n")
	for deadline := time.Now().Add(2 * time.Minute); ; {
		before, begun := switches(t, l), time.Now()
		time.Sleep(2 * time.Second) // for that long it is counted
		rate := float64(switches(t, l)-before) / time.Since(begun).Seconds()
		if rate < most {
			t.Logf("%.1f wake-ups a second", rate)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a server that has nothing to do wakes %.0f times a second", rate)
		}
	}
}

// switches is how often the threads of the server were given a processor until now:
// each wake-up is one, and what other load there is makes little more of one that
// sleeps (proc(5)).
func switches(t *testing.T, l *lab.Lab) (sum int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", l.Pid()))
	if err != nil || len(threads) == 0 {
		t.Fatal("no threads", err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "_ctxt_switches") {
				n, err := strconv.Atoi(strings.TrimSpace(value))
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
		}
	}
	return sum
}
