package nodes

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/console"
	"walt/fault"
)

// withLines has a lab keep consoles.
func (l testLab) withLines(t *testing.T) {
	t.Helper()
	l.Lines = console.New(console.Config{Dir: t.TempDir(), Term: l.Term, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	t.Cleanup(l.Lines.Close)
}

// A node is in one term for each time that somebody has it, and in none while what the owner
// before had still runs there.
func TestTermOfNodes(t *testing.T) {
	t.Parallel()
	l := newTeam(t) // n1 is bob's
	l.withLines(t)
	_, err := l.Acquire(t.Context(), "alice", Only("n1"), Remarks{}, consent.Agreement{Whoever: true})
	ok(t, err)
	d := l.device(t, "n1")
	term := func() string { return l.Term(d.MAC) }
	l.upAt(t, "n1", "10.9.0.1:22")
	first := term()
	if first == "" || first != l.device(t, "n1").term() {
		t.Errorf("it is in the term %q", first)
	}
	ok(t, errorOf(l.Rename(t.Context(), "alice", "n1", "n9", consent.Agreement{})))
	if got := term(); got != first {
		t.Errorf("once renamed it is in the term %q, was in %q", got, first)
	}
	ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n9"), Remarks{}, consent.Agreement{Whoever: true})))
	l.status.keepUp("n9", true)
	if got := term(); got != "" {
		t.Errorf("while it runs what was alice's it is in the term %q", got)
	}
	l.status.keepUp("n9", false) // it was switched off
	second := term()
	if second == "" || second == first {
		t.Errorf("with its firmware it is in the term %q, was in %q", second, first)
	}
	l.upAt(t, "n9", "10.9.0.1:22")
	if got := term(); got != second {
		t.Errorf("once it is up it is in the term %q, was in %q", got, second)
	}
	ok(t, errorOf(l.Release(t.Context(), "bob", Only("n9"))))
	ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n9"), Remarks{}, consent.Agreement{})))
	if got := l.device(t, "n9").term(); got == second {
		t.Error("what bob takes again is in the term of before")
	}
	if got := l.Term("02:00:00:00:00:99"); got != "" {
		t.Errorf("no device is in the term %q", got)
	}
}

// A machine is in no term from the hand-over until it boots anew: nothing but images speaks there.
func TestTermOfMachines(t *testing.T) {
	t.Parallel()
	l := newPair(t) // v1 is bob's
	l.withLines(t)
	l.comeUp(t, "v1")
	mac := l.device(t, "v1").MAC
	if l.Term(mac) == "" {
		t.Error("bob's is in no term")
	}
	ok(t, errorOf(l.SetImage(t.Context(), "carol", parse("v1"), "default", Remarks{}, consent.Agreement{Whoever: true})))
	if got := l.Term(mac); got != "" {
		t.Errorf("before it boots it is in the term %q", got)
	}
	ok(t, errorOf(l.Boot(t.Context(), "v1")))
	if got := l.Term(mac); got != l.device(t, "v1").term() {
		t.Errorf("it is in the term %q", got)
	}
}

// Who sits at a console stays while the node goes down, and no longer than the node is theirs.
func TestSit(t *testing.T) {
	t.Parallel()
	l := newTeam(t) // n1 is bob's, n3 free
	l.withLines(t)
	for _, n := range []Name{"n1", "n3"} {
		ok(t, errorOf(l.Configure(t.Context(), "alice", Only(n), true, []Assignment{{"serial", "/dev/no-such-" + string(n)}}, consent.Agreement{Whoever: true})))
	}
	sit := func(user auth.Name, n Name) *Console {
		t.Helper()
		c, err := l.Sit(t.Context(), user, n, consent.Agreement{})
		ok(t, err)
		return c
	}
	bob, carol := sit("bob", "n1"), sit("carol", "n3")
	defer bob.Leave()
	defer carol.Leave()
	l.upAt(t, "n1", "10.9.0.1:22")
	if l.visitors.Present("n1") != nil || !l.visitors.Any("n1") {
		t.Error("bob is one who leaves when the node goes down, or is no use of it")
	}
	_, err := l.Sit(t.Context(), "carol", "n1", consent.Agreement{})
	wantFault(t, err, fault.Failed, "n1 is owned by bob")
	_, err = l.ConsoleHistory(t.Context(), "carol", "n1", consent.Agreement{})
	wantFault(t, err, fault.Failed, "n1 is owned by bob")
	l.Lines.Of(l.device(t, "n1").MAC).Feed([]byte("bob's"))
	h, err := l.ConsoleHistory(t.Context(), "bob", "n1", consent.Agreement{})
	ok(t, err)
	text, err := io.ReadAll(h)
	ok(t, errors.Join(err, h.Close()))
	if string(text) != "bob's" {
		t.Errorf("the history is %q", text)
	}
	ok(t, errorOf(l.Acquire(t.Context(), "carol", parse("n1,n3"), Remarks{}, consent.Agreement{Whoever: true})))
	wantFault(t, overWith(t, bob.Way), fault.Failed, "n1 changed hands")
	if err := carol.Context().Err(); err != nil {
		t.Errorf("who took the node is sent away: %v", err)
	}
	ok(t, errorOf(l.Rename(t.Context(), "carol", "n3", "n8", consent.Agreement{})))
	wantFault(t, overWith(t, carol.Way), fault.Failed, "n3 is called n8 now")
	l.Lines.Of(l.device(t, "n8").MAC).Feed([]byte("x"))
	kept := func() int {
		files, err := os.ReadDir(l.Lines.Dir)
		ok(t, err)
		return len(files)
	}
	before := kept()
	ok(t, errorOf(l.Forget(t.Context(), "carol", Only("n8"), consent.Agreement{})))
	if got := kept(); before != 2 || got != 1 {
		t.Errorf("of %d consoles %d are kept once a node is gone", before, got)
	}
}

// A serial line is that of one board, however it is reached.
func TestOneBoardOfASerialLine(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	give := func(set, line string) error {
		t.Helper()
		return errorOf(l.Configure(t.Context(), "alice", parse(set), true, []Assignment{{"serial", line}}, consent.Agreement{Whoever: true}))
	}
	wantFault(t, give("n1,n2", "tcp://rack-1:3001"), fault.Failed, "a serial line is that of one board, not of 2; nothing changed", "its own")
	ok(t, give("n1", "tcp://rack-1:3001"))
	ok(t, give("n1", "telnet://rack-1:3001"))
	ok(t, give("n2", "/dev/ttyUSB0"))
	wantFault(t, give("n2", "tcp://rack-1:3001"), fault.Failed, "tcp://rack-1:3001 is the serial line of n1; nothing changed", "device config n1 serial=none")
	wantFault(t, give("n1", "/dev/ttyUSB0,9600"), fault.Failed, "/dev/ttyUSB0,9600 is the serial line of n2")
	ok(t, give("n1,n2", "none"))
	ok(t, give("n2", "tcp://rack-1:3001"))
}

// BenchmarkTerm is what each piece costs that a node writes, beside keeping it.
func BenchmarkTerm(b *testing.B) {
	l := newLab(b, []auth.Name{"bob"}, "n1")
	mac := l.device(b, "n1").MAC
	for b.Loop() {
		if l.Term(mac) == "" {
			b.Fatal("it is in no term")
		}
	}
}
