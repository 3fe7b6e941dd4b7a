package auth

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestPromoteAndDemote(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	before := len(l.history(t))
	isAdmin := func(name Name, want bool) {
		t.Helper()
		if u, err := l.Check(t.Context(), name); err != nil || u.Admin != want {
			t.Errorf("%s is an administrator: %v, %v", name, u.Admin, err)
		}
	}
	refused(t, l.Promote(t.Context(), "bob", "bob"), "only administrators")
	refused(t, l.Promote(t.Context(), "alice", "bobb"), "unknown user bobb", "did you mean bob")
	refused(t, l.Promote(t.Context(), "alice", "alice"), "alice is an administrator already")
	refused(t, l.Demote(t.Context(), "alice", "bob", true), "bob is no administrator")
	refused(t, l.Demote(t.Context(), "bob", "alice", true), "only administrators")
	refused(t, l.Demote(t.Context(), "alice", "alice", true), "last administrator and cannot be demoted", "user promote USER")
	refused(t, l.Demote(t.Context(), "alice", "alice", false), "last administrator")
	ok(t, l.Promote(t.Context(), "alice", "bob"))
	isAdmin("bob", true)
	if err := l.Demote(t.Context(), "alice", "alice", false); !errors.Is(err, ErrOneself) {
		t.Errorf("unsure: %v", err)
	}
	isAdmin("alice", true)
	ok(t, l.Demote(t.Context(), "alice", "alice", true))
	isAdmin("alice", false)
	ok(t, l.Promote(t.Context(), "bob", "alice"))
	ok(t, l.Demote(t.Context(), "alice", "bob", false)) // not oneself
	isAdmin("bob", false)
	if who, err := l.Login(t.Context(), public("bob"), "walt", home); err != nil || who.Admin {
		t.Errorf("bob logs in as %+v, %v", who, err)
	}
	want := []string{
		"user alice bob: made an administrator",
		"user alice alice: no longer an administrator",
		"user bob alice: made an administrator",
		"user alice bob: no longer an administrator",
	}
	if got := l.history(t)[before:]; !reflect.DeepEqual(got, want) {
		t.Errorf("history: %q", got)
	}
}

// Two administrators who demote each other, or one who demotes the other while
// that one removes the first: one remains.
func TestLastAdministratorIsNotDemoted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for range 50 {
		ok(t, l.Ensure(t.Context(), "alice", line("alice")))
		ok(t, l.Ensure(t.Context(), "bob", line("bob")))
		won := race(t,
			func() error { return l.Demote(t.Context(), "alice", "bob", false) },
			func() error { return l.Demote(t.Context(), "bob", "alice", false) })
		all, err := l.List(t.Context())
		ok(t, err)
		if admins := all[0].Admin != all[1].Admin; won != 1 || !admins {
			t.Fatalf("%d demotions, left are %+v", won, all)
		}
	}
}

// An administrator whose keys have expired, are bound to a command or are gone does
// not count: the last one who can log in stays, and keeps the last key for that.
func TestLastAdministratorWhoCanLogIn(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"", `expiry-time="20200101" ` + line("b"), `command="node show" ` + line("b")} {
		l := newTeam(t)
		ctx := t.Context()
		if _, err := l.RemoveKey(ctx, "alice", fingerprint("bob")); err != nil {
			t.Fatal(err)
		}
		if keys != "" {
			_, err := l.AddKeys(ctx, "alice", "bob", keys)
			ok(t, err)
		}
		ok(t, l.Promote(ctx, "alice", "bob"))
		_, err := l.AddKeys(ctx, "alice", "alice", `expiry-time="20200101" `+line("old"))
		ok(t, err)
		refused(t, l.Demote(ctx, "alice", "alice", true), "alice is the last administrator who can log in and cannot be demoted", "user add-key bob < KEY.pub")
		refused(t, l.delete(t, "alice", "alice"), "alice is the last administrator who can log in and cannot be removed")
		_, err = l.RemoveKey(ctx, "alice", fingerprint("alice"))
		refused(t, err, "is the last key with which an administrator can log in", "user add-key alice < KEY.pub")
		if is, err := l.Administered(ctx); !is || err != nil {
			t.Errorf("%q: administered: %v, %v", keys, is, err)
		}
		// With certificates, or another key, either may go.
		l.SetCA([]ssh.PublicKey{public("ca")})
		_, err = l.RemoveKey(ctx, "alice", fingerprint("old"))
		ok(t, err)
		l.SetCA(nil)
		_, err = l.AddKeys(ctx, "alice", "bob", line("new"))
		ok(t, err)
		ok(t, l.Demote(ctx, "alice", "alice", true))
		ok(t, l.Promote(ctx, "bob", "alice"))
		ok(t, l.delete(t, "bob", "alice"))
	}
}

// Of two administrators one demotes the other, who takes from the first the only key
// with which to log in: one who can log in remains.
func TestDemotedWhileTheOtherLosesTheKey(t *testing.T) {
	t.Parallel()
	for range 50 {
		l := newTeam(t)
		ok(t, l.Promote(t.Context(), "alice", "bob"))
		_, err := l.AddKeys(t.Context(), "alice", "bob", `expiry-time="20200101" `+line("old"))
		ok(t, err)
		race(t,
			func() error { return l.Demote(t.Context(), "bob", "alice", false) },
			func() error { _, err := l.RemoveKey(t.Context(), "alice", fingerprint("bob")); return err })
		if is, err := l.Administered(t.Context()); !is || err != nil {
			t.Fatalf("administered: %v, %v", is, err)
		}
	}
}

func TestAdministered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lines string // of the only administrator
		ca    bool
		want  bool
	}{
		{"a key", line("a"), false, true},
		{"from elsewhere", `from="192.0.2.1" ` + line("a"), false, true},
		{"expired", `expiry-time="20200101" ` + line("a"), false, false},
		{"bound to a command", `command="advanced backup" ` + line("a"), false, false},
		{"expired and not", `expiry-time="20200101" ` + line("a") + line("b"), false, true},
		{"expired, or a certificate", `expiry-time="20200101" ` + line("a"), true, true},
	} {
		l := newLab(t)
		if got, err := l.Administered(t.Context()); got || err != nil {
			t.Fatalf("without users: %v, %v", got, err)
		}
		ok(t, l.Ensure(t.Context(), "alice", test.lines))
		_, err := l.Users.Add(t.Context(), "alice", "bob", false, line("bob"))
		ok(t, err)
		if test.ca {
			l.SetCA([]ssh.PublicKey{public("ca")})
		}
		if got, err := l.Administered(t.Context()); got != test.want || err != nil {
			t.Errorf("%s: %v, %v", test.name, got, err)
		}
	}
}

func TestPermit(t *testing.T) {
	t.Parallel()
	for options, expired := range map[string]bool{"": false, `from="192.0.2.1"`: false, `expiry-time="20260314"`: true, `expiry-time="20260315"`: false} {
		k := Key{Options: options}
		if k.Expired(noon) != expired {
			t.Errorf("%q expired: %v", options, !expired)
		}
		if err := k.Permit(home, noon); (err == nil) != (options == "" || options == `expiry-time="20260315"`) {
			t.Errorf("%q: %v", options, err)
		}
	}
	if k := (Key{Options: `expiry-time="20260314"`}); !k.Expired(noon.Add(time.Hour)) {
		t.Error("not expired an hour later")
	}
}
