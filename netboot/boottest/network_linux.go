package boottest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inside is set where a test runs in a network of its own.
const inside = "WALT_TEST_NETWORK"

// InNetwork runs the test once more, as another process in a network of its own, where
// nothing is up yet; that takes root. It reports whether this is the one outside, for which
// nothing is left to do.
func InNetwork(t *testing.T) (outside bool) {
	t.Helper()
	if os.Getenv(inside) != "" {
		return false
	}
	c := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count=1")
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return true
}
