// Package e2e tells stories between users of a lab: the real server program, a
// real registry, the real ssh client. Each file in testdata is one story; the
// commands that they are told in are in words_test.go and talk_test.go.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"walt/e2e/lab"
)

// waltd is the server program that TestMain built.
var waltd string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "walt-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for _, part := range []string{"ssh", "docker-registry"} {
		if _, err := exec.LookPath(part); err != nil {
			fmt.Fprintf(os.Stderr, "%v: install it (as root on Debian, `make parts` does)\n", err)
			if os.Getenv("CI") == "true" {
				return 1
			}
			fmt.Fprintln(os.Stderr, "the stories are skipped")
			return 0
		}
	}
	if waltd, err = lab.Build(dir, raced); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			s, err := newStory(e.WorkDir)
			if err != nil {
				return err
			}
			e.Values[storyKey{}] = s
			e.Setenv("PATH", filepath.Dir(waltd)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("data", s.lab.Data())
			e.Setenv("registry", s.lab.Registry.URL())
			e.Setenv("config", s.lab.Config)
			e.Defer(func() { s.end(e.T().(testing.TB)) })
			return nil
		},
		Cmds:      words,
		Condition: hasPart,
	})
}

// newLab prepares a lab of which nothing runs yet.
func newLab(dir string) (*lab.Lab, error) {
	dir = filepath.Join(dir, "lab")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	registry, err := lab.NewRegistry(dir)
	if err != nil {
		return nil, err
	}
	return lab.New(dir, waltd, registry)
}

// trouble is what a server must never have written to its log.
var trouble = regexp.MustCompile(`(?m)^.*(DATA RACE|panic|fatal error|goroutine \d+ \[).*$`)

// endLab checks the lab's invariant if its server runs, ends all of it, and
// fails the test when the server did not end well or had trouble.
func endLab(t testing.TB, l *lab.Lab) {
	t.Helper()
	if l.Running() {
		if err := checkInvariant(l); err != nil {
			t.Errorf("the lab's invariant: %v", err)
		}
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	if err := l.Registry.Stop(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(l.Log())
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	if found := trouble.Find(log); found != nil || t.Failed() {
		t.Errorf("%s\nthe server's log:\n%s", found, log)
	}
}

// patience is how long to wait for what must happen.
func patience() time.Duration {
	if raced {
		return 60 * time.Second
	}
	return 20 * time.Second
}

// eventually calls f until it succeeds.
func eventually(f func() error) error {
	deadline := time.Now().Add(patience())
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(25 * time.Millisecond)
	}
}
