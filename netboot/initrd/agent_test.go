package initrd

import (
	"errors"
	"strings"
	"testing"
)

func TestAgent(t *testing.T) {
	built := tree(map[string]string{"agents/README": "", "agents/agent-arm.zst": zipped(t, asZstd, "program"), "agents/agent-arm64.zst": "damaged"})
	if b, err := agentOf(built, "arm"); string(b) != "program" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	for arch, want := range map[string]string{"arm64": "the program of machines", "riscv64": "no program for machines with riscv64"} {
		if _, err := agentOf(built, arch); err == nil || errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arch, err)
		}
	}
	if _, err := agentOf(tree(map[string]string{"agents/README": ""}), "arm"); !errors.Is(err, ErrNoAgent) {
		t.Errorf("built without: %v", err)
	}
	for _, arch := range []string{"amd64", "arm64", "arm"} { // what this test was built with
		if b, err := Agent(arch); err == nil && string(b[:4]) != "\x7fELF" || err != nil && !errors.Is(err, ErrNoAgent) {
			t.Errorf("%s: %d bytes, %v", arch, len(b), err)
		}
	}
}
