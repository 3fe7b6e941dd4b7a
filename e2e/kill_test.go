package e2e

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/e2e/lab"
)

// TestKilledDownloads ends the server without warning at any moment of twenty
// downloads. Each image that is visible after it is complete: it can be read
// from its first layer to its last, and a registry that verifies every part
// takes it. What was acknowledged is visible.
func TestKilledDownloads(t *testing.T) {
	t.Parallel()
	const downloads = 20
	l := startLab(t)
	if err := l.Add("", "alice"); err != nil {
		t.Fatal(err)
	}
	for n := range downloads {
		err := l.Registry.Push(lab.Image{
			Models: []string{"rpi-3-b"}, Name: fmt.Sprintf("ann/image-%d:latest", n), Layers: 4, Bulk: 700,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	acknowledged := map[string]bool{}
	kills := 0
	// Any moment of a download will do. How long one takes depends on what else
	// the machine does: when none was done in time, the next may take longer.
	window := 250 * time.Millisecond
	for n := 0; n < downloads; kills++ {
		var waiting sync.WaitGroup
		var mu sync.Mutex
		before := len(acknowledged)
		for i := range min(3, downloads-n) { // several at once
			name := fmt.Sprintf("image-%d", n+i)
			waiting.Go(func() {
				if _, err := l.Run("", "alice", "image", "clone", "lab:ann/"+name); err == nil || strings.Contains(err.Error(), "already") {
					mu.Lock()
					defer mu.Unlock()
					acknowledged[name] = true
				}
			})
		}
		time.Sleep(rand.N(window))
		if err := l.Kill(); err != nil {
			t.Fatal(err)
		}
		waiting.Wait()
		if len(acknowledged) == before {
			window += window / 4
		}
		if err := l.Start(); err != nil {
			t.Fatalf("after kill %d: %v", kills, err)
		}
		checkComplete(t, l, acknowledged)
		for n < downloads && acknowledged[fmt.Sprintf("image-%d", n)] {
			n++
		}
		if t.Failed() || kills > 4*downloads {
			t.Fatalf("%d of %d downloads ended with %d kills", n, downloads, kills)
		}
	}
	if left, err := exec.Command("find", l.Data()+"/images/tmp", "-type", "f").Output(); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %s, %v", left, err)
	}
	// A registry takes no manifest of which it has not every part, and no part
	// that has not its digest; what was pushed there before is forgotten first.
	if err := l.Registry.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.Registry.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := l.Registry.Start(); err != nil {
		t.Fatal(err)
	}
	for name := range acknowledged {
		if _, err := l.Run("", "alice", "image", "publish", name); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d downloads ended, with %d kills", downloads, kills)
}

// checkComplete inspects each image that alice sees, and looks for those that
// she was told to have.
func checkComplete(t *testing.T, l *lab.Lab, acknowledged map[string]bool) {
	t.Helper()
	names, err := l.Run("", "alice", "image", "show", "--names-only")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		seen[name] = true
	}
	if len(seen) > 0 { // one connection for all of them
		if _, err := l.Run("image inspect "+strings.Join(strings.Fields(names), "\nimage inspect ")+"\n", "alice"); err != nil {
			t.Error(err)
		}
	}
	for name := range acknowledged {
		if !seen[name] {
			t.Errorf("%s was acknowledged and is gone", name)
		}
	}
}
