// Package e2e tells stories between users of a lab: the real server program, a
// real registry, the real ssh client. Each file in testdata is one story; the
// commands that they are told in are listed in words_test.go. fixtures_test.go
// has the labs that the other tests start from.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"walt/e2e/lab"
)

var (
	// waltd is the server program that TestMain built.
	waltd string
	// shipped is the one that users get: without the race detector. It is built when it is asked for.
	shipped func() (string, error)
)

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
	shipped = sync.OnceValues(func() (string, error) {
		if !raced {
			return waltd, nil
		}
		dir := filepath.Join(dir, "shipped")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		return lab.Build(dir, false)
	})
	// Stories wait more than they work, so more of them than there are cores run
	// at once.
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

func TestStories(t *testing.T) {
	t.Parallel()
	earlier, err := filepath.Abs("../upgrade/testdata") // data of earlier versions
	if err != nil {
		t.Fatal(err)
	}
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
			e.Setenv("earlier", earlier)
			e.Setenv("registry", s.lab.Registry.URL())
			e.Setenv("config", s.lab.Config)
			e.Defer(func() { s.end(e.T().(testing.TB)) })
			return nil
		},
		Cmds:      words,
		Condition: hasPart,
	})
}
