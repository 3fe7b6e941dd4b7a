package qemu

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The process of a machine has none of the capabilities of a server that is not root.
func TestRightsOfMachines(t *testing.T) {
	const inside = "WALT_TEST_RIGHTS"
	if os.Getenv(inside) != "" {
		for name, start := range map[string]func(*exec.Cmd) error{"server": (*exec.Cmd).Start, "machine": launch} {
			var out bytes.Buffer
			c := exec.Command("grep", "CapEff", "/proc/self/status")
			c.Stdout = &out
			if err := start(c); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
			if none := strings.Contains(out.String(), "\t0000000000000000\n"); none != (name == "machine") {
				t.Errorf("what the %s starts has %q", name, out.String())
			}
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("it needs root, to be somebody else")
	}
	dir, err := os.MkdirTemp("", "vm") // which others may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(os.Args[0])
	own := filepath.Join(dir, "test")
	if err := errors.Join(err, os.WriteFile(own, program, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(own, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count=1")
	c.Dir, c.Env = dir, append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: []uintptr{unix.CAP_NET_RAW}}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
}
