package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/e2e/lab"
)

// Labs that the tests of this package start from, what they look at in them,
// and how a lab ends.

// newLab prepares a lab of which nothing runs yet.
func newLab(dir string) (*lab.Lab, error) { return newLabOf(dir, waltd) }

// newLabOf is newLab with another server program.
func newLabOf(dir, program string) (*lab.Lab, error) {
	dir = filepath.Join(dir, "lab")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	registry, err := lab.NewRegistry(dir)
	if err != nil {
		return nil, err
	}
	return lab.New(dir, program, registry)
}

// startLab starts a lab without nodes, and a registry with an image for them.
func startLab(t *testing.T) *lab.Lab {
	t.Helper()
	return startLabOf(t, waltd)
}

// startLabOf is startLab with another server program.
func startLabOf(t *testing.T, program string) *lab.Lab {
	t.Helper()
	l, err := newLabOf(t.TempDir(), program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endLab(t, l) })
	if err := errors.Join(l.Registry.Start(), l.Registry.Push(lab.Image{Models: []string{"rpi-3-b"}}), l.Start()); err != nil {
		t.Fatal(err)
	}
	return l
}

// plugIn runs a script of device add lines and waits until all are nodes.
func plugIn(t *testing.T, l *lab.Lab, script string) {
	t.Helper()
	if _, err := l.Run(script, lab.Admin); err != nil {
		t.Fatal(err)
	}
	err := eventually(func() error {
		nodes, err := showNodes(l)
		if want := strings.Count(script, "\n"); err == nil && len(nodes) != want {
			err = fmt.Errorf("%d of %d nodes are there", len(nodes), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
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
const patience = 2 * time.Minute

// eventually calls f until it succeeds.
func eventually(f func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(25 * time.Millisecond)
	}
}

// node and image are what the show commands say of one, as far as the tests
// of this package look at it.
type node struct {
	Name, Model, Image string
	Owner              *string
}

type image struct {
	FullName, User string
	Models         []string
	InUse          bool `json:"in_use"`
}

// showNodes returns all nodes of the lab.
func showNodes(l *lab.Lab) ([]node, error) {
	var answer struct{ Nodes []node }
	err := show(l, "node", &answer)
	return answer.Nodes, err
}

// show decodes what the administrator is shown of a noun.
func show(l *lab.Lab, noun string, answer any) error {
	out, err := l.Run("", lab.Admin, noun, "show", "--all", "--json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		return fmt.Errorf("%s show --all --json: %w in %s", noun, err, out)
	}
	return nil
}

// checkInvariant checks that each node boots an image that exists and lists
// the model of the node, and that the owner of the image owns the node. Nobody
// may be changing the lab meanwhile.
func checkInvariant(l *lab.Lab) error {
	nodes, err := showNodes(l)
	if err != nil {
		return err
	}
	var answer struct{ Images []image }
	if err := show(l, "image", &answer); err != nil {
		return err
	}
	images := answer.Images
	for _, n := range nodes {
		i := slices.IndexFunc(images, func(i image) bool { return i.FullName == n.Image })
		if i < 0 {
			return fmt.Errorf("%s boots %s, which does not exist", n.Name, n.Image)
		}
		if !slices.Contains(images[i].Models, n.Model) {
			return fmt.Errorf("%s, a %s, boots %s, which is for %v", n.Name, n.Model, n.Image, images[i].Models)
		}
		owner := "waltplatform"
		if n.Owner != nil {
			owner = *n.Owner
		}
		if !strings.HasPrefix(n.Image, owner+"/") {
			return fmt.Errorf("%s boots %s and is said to be of %s", n.Name, n.Image, owner)
		}
	}
	return nil
}
