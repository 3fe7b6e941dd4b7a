package nodes

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/journal"
	"walt/state/badger"
)

// stormIn makes the test binary a server whose users take nodes from each other
// in this directory until it is killed.
const stormIn = "WALT_TEST_STORM_IN"

var (
	stormUsers = []auth.Name{"u1", "u2", "u3", "u4"}
	shared     = []Name{"s1", "s2", "s3"}
)

// private is the node that only one user of the storm wants.
func private(u auth.Name) Name { return Name("p-" + u) }

// storm prints each change once it was reported done, as its event is printed
// by tally.
func storm(dir string) error {
	store, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	l := over(store, time.Now, newShelf())
	errs := make(chan error)
	for _, u := range stormUsers {
		go func() { errs <- l.rage(u) }()
	}
	return <-errs
}

// rage takes and releases nodes as one user.
func (l testLab) rage(user auth.Name) error {
	ctx := context.Background()
	report := func(r Result) {
		for _, ch := range r.Changes {
			if ch.Changed {
				os.Stdout.WriteString(tally(user, ch.Node, ch.Previous, ch.Image.User) + "\n")
			}
		}
	}
	for i := 0; ; i++ {
		r, err := l.Release(ctx, user.Actor(), parse("my-nodes"))
		if err != nil {
			return err
		}
		report(r)
		if r, err = l.Acquire(ctx, user, Only(private(user)), Remarks{}, consent.Agreement{}); err != nil {
			return err
		}
		report(r)
		r, err = l.Acquire(ctx, user, parse(string(shared[i%len(shared)]+","+shared[(i+1)%len(shared)])), Remarks{}, consent.Agreement{Whoever: true})
		if err != nil {
			return err
		}
		report(r)
	}
}

// tally is a change of ownership as the storm and the journal tell it.
func tally(actor auth.Name, n Name, from, to auth.Name) string {
	return fmt.Sprintf("%s %s: %s -> %s", actor, n, from, to)
}

// TestKill kills a server in a storm of acquires and releases, several times:
// each change that was reported done is there, those that were not are at most
// the one of each user that was under way, and the invariant holds.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	prepareStorm(t, dir)
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	reported := map[string]int{}
	for range rounds {
		changes := killStorm(t, dir)
		t.Logf("%d changes were reported", len(changes))
		for _, c := range changes {
			reported[c]++
		}
		store, err := badger.Open(dir, nil)
		ok(t, err)
		l := over(store, time.Now, newShelf())
		sound(t, store)
		l.checkStorm(t, reported)
		ok(t, store.Close())
	}
}

func prepareStorm(t *testing.T, dir string) {
	store, err := badger.Open(dir, nil)
	ok(t, err)
	defer store.Close()
	l := over(store, time.Now, newShelf())
	ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
	l.image(t, defaultOf("m1"))
	for _, u := range stormUsers {
		l.user(t, u)
		l.node(t, private(u), "m1")
	}
	for _, n := range shared {
		l.node(t, n, "m1")
	}
}

// killStorm returns what a storm reported before it was killed.
func killStorm(t *testing.T, dir string) (lines []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), stormIn+"="+dir)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	in := bufio.NewScanner(out)
	for in.Scan() {
		if lines = append(lines, in.Text()); len(lines) == 200 {
			ok(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // it was killed
	if complaints.Len() > 0 {
		t.Fatalf("the server: %s", complaints.String())
	}
	return lines
}

// checkStorm compares the journal, and the owners of the private nodes, with
// what was reported, and adds what was done without being reported.
func (l testLab) checkStorm(t *testing.T, reported map[string]int) {
	t.Helper()
	is := map[string]int{}
	last := map[Name]auth.Name{}
	ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if e.Type == journal.Ownership {
			from, to := auth.Nobody, auth.Nobody
			if e.From != "" {
				from = auth.Name(e.From)
			}
			if e.To != "" {
				to = auth.Name(e.To)
			}
			for _, n := range e.About() {
				is[tally(auth.Name(e.Actor), Name(n), from, to)]++
				last[Name(n)] = to
			}
		}
		return nil
	})))
	extra := map[string]int{}
	for change, n := range is {
		if n < reported[change] {
			t.Errorf("%q was reported %d times, but done only %d times", change, reported[change], n)
		}
		user, _, _ := strings.Cut(change, " ")
		extra[user] += n - reported[change]
		reported[change] = n
	}
	for change, n := range reported {
		if n > 0 && is[change] == 0 {
			t.Errorf("%q was reported, but is lost", change)
		}
	}
	// One command of each user was under way, which changes at most all that it has.
	for user, n := range extra {
		if n > 1+len(shared) {
			t.Errorf("%d changes of %s were done and not reported", n, user)
		}
	}
	for _, u := range stormUsers {
		if owner := l.device(t, private(u)).Owner(); owner != last[private(u)] || !slices.Contains([]auth.Name{u, auth.Nobody}, owner) {
			t.Errorf("%s is owned by %s, the last change made it %s's", private(u), owner, last[private(u)])
		}
	}
}
