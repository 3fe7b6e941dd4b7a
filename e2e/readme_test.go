package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadmeSession types the commands of the session in README.md into the lab
// that waltd demo leaves open, and compares what comes.
func TestReadmeSession(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "<!-- session -->\n```console\n")
	session, _, ok := strings.Cut(rest, "```\n<!-- /session -->")
	if !ok {
		t.Fatal("README.md has no block between <!-- session --> and <!-- /session -->")
	}
	ssh := startDemo(t)
	var fresh strings.Builder
	for line := range strings.Lines(session) {
		command, is := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ ")
		if !is {
			continue
		}
		// A login shell's "lab" is a host in ~/.ssh/config; here it is a function.
		sh := exec.Command("sh", "-c", fmt.Sprintf("ssh() { shift; command ssh %s \"$@\"; }\n%s", ssh, command))
		out, err := sh.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatal(err)
		}
		fmt.Fprintf(&fresh, "$ %s\n%s", command, out)
	}
	if settled(fresh.String()) != settled(session) {
		t.Errorf("README.md shows another session than there is:\n%s", fresh.String())
	}
}

// startDemo starts waltd demo and returns, after its tour, the arguments with
// which ssh reaches its lab.
func startDemo(t *testing.T) string {
	t.Helper()
	home, temp := t.TempDir(), t.TempDir()
	demo := exec.Command(waltd, "demo")
	demo.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+temp)
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	demo.Stderr = demo.Stdout
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(3*patience, func() { demo.Process.Kill() })
	lines := bufio.NewReader(out)
	t.Cleanup(func() {
		defer hung.Stop()
		demo.Process.Signal(syscall.SIGINT)
		io.Copy(io.Discard, lines)
		if err := demo.Wait(); err != nil {
			t.Errorf("the end of the demo: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
			t.Errorf("the demo left %q", left)
		}
	})
	invitation := regexp.MustCompile(`^  ssh (-F \S+ \S+)\n`)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if found := invitation.FindStringSubmatch(line); found != nil {
			return found[1]
		}
		if err != nil {
			t.Fatalf("the demo ended: %v\n%s", err, said.String())
		}
	}
}

// varying are parts of a session that differ from run to run, and what stands
// for them in a comparison.
var varying = []struct {
	part *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d`), "DATE"},
	{regexp.MustCompile(`\bjust now\b|\b\d+ (second|minute)s? ago\b`), "AGO"},
	{regexp.MustCompile(`(?m)^(.* virtual +)(up|booting|off)\b`), "${1}STATE"},
	{regexp.MustCompile(`(Waiting for \S+ \()(booting|off)\)`), "${1}STATE)"},
	{regexp.MustCompile(`(?m) +`), " "},
}

// settled is a session without what varies.
func settled(session string) string {
	for _, v := range varying {
		session = v.part.ReplaceAllString(session, v.as)
	}
	return session
}
