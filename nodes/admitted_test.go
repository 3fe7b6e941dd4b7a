package nodes

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/consent"
	"walt/images/imagetest"
)

// admitted are the users whose keys a node lets in.
func (l testLab) admitted(t testing.TB, n Name) (users []string) {
	t.Helper()
	a, err := l.Admitted(t.Context(), n)
	ok(t, err)
	for _, line := range a.Lines {
		users = append(users, line[strings.LastIndex(line, " ")+1:])
	}
	for _, u := range []auth.Name{"alice", "bob", "carol", "dave"} {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(keyOf(u)))
		ok(t, err)
		if in, err := l.Admits(t.Context(), n, key); err != nil || in != slices.Contains(users, string(u)) {
			t.Errorf("%s admits %s: %v, %v", n, u, in, err)
		}
	}
	return users
}

// A node lets in its owner and mates, a free one everybody, and what is none nobody.
func TestAdmitted(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	everybody := []string{"alice", "bob", "carol", "dave"}
	l.user(t, "dave")
	equal(t, "the owner", l.admitted(t, "n1"), "bob")
	equal(t, "free", l.admitted(t, "n3"), everybody...)
	equal(t, "no node", l.admitted(t, "n9"))
	equal(t, "a name like a user's", l.admitted(t, "bob"))
	ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"carol", "dave"})))
	equal(t, "shared", l.admitted(t, "n1"), "bob", "carol", "dave")
	ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{auth.Everybody})))
	equal(t, "shared with all", l.admitted(t, "n1"), everybody...)
	ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"dave"})))
	ok(t, errorOf(l.RemoveUser(t.Context(), "alice", "dave", Legacy{})))
	equal(t, "the mate was removed", l.admitted(t, "n1"), "bob")
	ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{Whoever: true})))
	equal(t, "the next owner", l.admitted(t, "n1"), "carol")
	ok(t, errorOf(l.Release(t.Context(), auth.Name("carol").Actor(), Only("n1"))))
	equal(t, "released", l.admitted(t, "n1"), "alice", "bob", "carol")
}

// readmitting are agents that are told to let in others, and note who n1 lets in then.
type readmitting struct {
	ordered
	t   *testing.T
	lab testLab
	now chan []string
}

func (r *readmitting) Readmit(ctx context.Context) {
	if a, err := r.lab.Admitted(ctx, "n1"); err == nil {
		r.now <- a.Lines
	}
}

// What changes who may log in is told to nodes that are up: owners, mates, keys that come and
// go and expire, users, and authorities.
func TestReadmit(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	agents := &readmitting{t: t, lab: l, now: make(chan []string, 100)}
	l.Agents = agents
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- l.readmit(ctx) }()
	go func() { done <- l.users.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			ok(t, <-done)
		}
	})
	key := func(name auth.Name) string { return strings.Fields(keyOf(name))[1] }
	becomes := func(what string, want ...string) {
		t.Helper()
		var now []string
		imagetest.Until(t, what, func() bool {
			select {
			case now = <-agents.now:
			case <-time.After(10 * time.Millisecond):
			}
			return len(now) == len(want) && !slices.ContainsFunc(want, func(w string) bool {
				return !slices.ContainsFunc(now, func(line string) bool { return strings.Contains(line, w) })
			})
		})
	}
	ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"carol"})))
	becomes("shared", key("bob"), key("carol"))
	ok(t, errorOf(l.users.AddKeys(t.Context(), "bob", "bob", keyOf("bob's other"))))
	becomes("another key", key("bob"), key("carol"), key("bob's other"))
	added, err := l.users.AddKeys(t.Context(), "carol", "carol",
		`expiry-time="`+time.Now().Add(time.Second).UTC().Format("20060102150405")+`Z" `+keyOf("guest"))
	ok(t, err)
	ok(t, errorOf(l.users.RemoveKey(t.Context(), "bob", ssh.FingerprintSHA256(parsed(t, keyOf("bob's other"))))))
	becomes("a key removed, and one that expires", key("bob"), key("carol"))
	if !added[0].Expired(time.Now()) {
		t.Error("the key did not expire")
	}
	l.users.SetCA([]ssh.PublicKey{parsed(t, keyOf("ca"))})
	becomes("an authority", `principals="bob,carol" `, key("bob"), key("carol"))
	ok(t, errorOf(l.RemoveUser(t.Context(), "alice", "carol", Legacy{Force: true})))
	becomes("a mate removed", `principals="bob" `, key("bob"))
}

func parsed(t testing.TB, line string) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	ok(t, err)
	return key
}
