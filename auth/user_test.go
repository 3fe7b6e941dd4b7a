package auth

import (
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/fault"
	"walt/state"
)

func TestAdd(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	keys, err := l.Add(t.Context(), "alice", "carol", true, `from="10.0.*" `+line("carol")+line("laptop"))
	ok(t, err)
	if len(keys) != 2 || keys[0].User != "carol" || keys[0].Fingerprint != fingerprint("carol") || !keys[1].Added.Equal(noon) {
		t.Errorf("added %+v", keys)
	}
	got, err := l.Get(t.Context(), "carol")
	ok(t, err)
	want := Account{User{"carol", true, noon.UTC()}, keys}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	all, err := l.List(t.Context())
	ok(t, err)
	var names []string
	for _, a := range all {
		names = append(names, string(a.Name))
	}
	if s := strings.Join(names, " "); s != "alice bob carol" {
		t.Errorf("users: %s", s)
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	for _, test := range []struct {
		actor, name Name
		lines       string
		says        string
	}{
		{"bob", "carol", line("carol"), "only administrators"},
		{"ghost", "carol", line("carol"), "ghost is no longer a user"},
		{"alice", "bob", line("carol"), "there is a user bob already"},
		{"alice", "carol", "", "no public key"},
		{"alice", "carol", line("carol") + "tunnel=\"1\" " + line("laptop"), `"tunnel"`},
		{"alice", "carol", line("carol") + line("bob"), "it belongs to bob"},
	} {
		_, err := l.Add(t.Context(), test.actor, test.name, false, test.lines)
		refused(t, err, test.says)
		if _, err := l.Get(t.Context(), "carol"); err == nil {
			t.Fatalf("%s: carol was added", test.says)
		}
		if _, err := l.Login(t.Context(), public("carol"), "walt", home); err == nil {
			t.Fatalf("%s: the key was stored", test.says)
		}
	}
}

func TestUnknownUser(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.Get(t.Context(), "alcie")
	refused(t, err, "unknown user alcie", "did you mean alice")
	_, err = l.AddKeys(t.Context(), "alice", "bo", line("carol"))
	refused(t, err, "unknown user bo", "did you mean bob")
	refused(t, l.delete(t, "alice", "bobb"), "unknown user bobb", "did you mean bob")
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	before := l.history(t)
	ok(t, l.Ensure(t.Context(), "alice", line("alice")))
	if after := l.history(t); len(after) != len(before) {
		t.Errorf("the second time: %q", after[len(before):])
	}

	ok(t, l.Ensure(t.Context(), "bob", line("laptop")))
	bob, err := l.Get(t.Context(), "bob")
	ok(t, err)
	if !bob.Admin || len(bob.Keys) != 2 {
		t.Errorf("bob is %+v", bob)
	}

	ok(t, l.Ensure(t.Context(), "alice", `command="whoami" `+line("alice")))
	who, err := l.Login(t.Context(), public("alice"), "walt", home)
	ok(t, err)
	if who.Command != "whoami" {
		t.Errorf("the options of the file do not hold: %+v", who)
	}
	refused(t, l.Ensure(t.Context(), "carol", line("alice")), "belongs to alice")
	refused(t, l.Ensure(t.Context(), "carol", "junk"), "line 1")
}

func TestDelete(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	refused(t, l.delete(t, "bob", "alice"), "only administrators")
	refused(t, l.delete(t, "bob", "bob"), "only administrators")
	refused(t, l.delete(t, "alice", "alice"), "last administrator")
	ok(t, l.delete(t, "alice", "bob"))
	if _, err := l.Login(t.Context(), public("bob"), "walt", home); err == nil {
		t.Error("bob's key still works")
	}
	refused(t, l.delete(t, "bob", "alice"), "bob is no longer a user of this lab")

	_, err := l.Add(t.Context(), "alice", "carol", true, line("bob"))
	ok(t, err) // bob's key is free again
	ok(t, l.delete(t, "alice", "alice"))
	refused(t, l.delete(t, "carol", "carol"), "last administrator")
}

func TestExistsAndRequire(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	ok(t, l.store.View(t.Context(), func(r state.Reader) error {
		for name, want := range map[Name]bool{"alice": true, "bob": true, "carol": false} {
			if got, err := Exists(r, name); got != want || err != nil {
				t.Errorf("%s exists: %v, %v", name, got, err)
			}
		}
		ok(t, Require(r, "alice"))
		refused(t, Require(r, "bob"), "only administrators")
		refused(t, Require(r, "carol"), "no longer a user")
		return nil
	}))
}

func TestHistory(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.RemoveKey(t.Context(), "alice", fingerprint("bob"))
	ok(t, err)
	ok(t, l.Ensure(t.Context(), "bob", line("laptop")))
	want := []string{
		"user server alice: administrator added",
		"user server alice: key added: " + fingerprint("alice"),
		"user alice bob: user added",
		"user alice bob: key added: " + fingerprint("bob"),
		"user alice bob: key removed: " + fingerprint("bob"),
		"user server bob: made an administrator",
		"user server bob: key added: " + fingerprint("laptop"),
	}
	if got := l.history(t); !reflect.DeepEqual(got, want) {
		t.Errorf("history:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Two administrators who remove each other, or themselves, at the same instant:
// one remains.
func TestLastAdministratorRace(t *testing.T) {
	t.Parallel()
	for name, victims := range map[string][2]Name{"each other": {"bob", "alice"}, "themselves": {"alice", "bob"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			for range 50 {
				ok(t, l.Ensure(t.Context(), "alice", line("alice")))
				ok(t, l.Ensure(t.Context(), "bob", line("bob")))
				won := race(t,
					func() error { return l.delete(t, "alice", victims[0]) },
					func() error { return l.delete(t, "bob", victims[1]) })
				all, err := l.List(t.Context())
				ok(t, err)
				if won != 1 || len(all) != 1 || !all[0].Admin {
					t.Fatalf("%d removals, left are %+v", won, all)
				}
			}
		})
	}
}

// race runs both at once and counts the successes; what fails must be a fault.
func race(t *testing.T, both ...func() error) (won int) {
	t.Helper()
	errs := make([]error, len(both))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, f := range both {
		wg.Go(func() {
			<-start
			errs[i] = f()
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			won++
		} else if fault.As(err) == nil {
			t.Error(err)
		}
	}
	return won
}

// TestCheckKey has somebody stay connected with a key while the name goes to
// somebody else.
func TestCheckKey(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	ok(t, l.checkKey(t, "bob"))
	_, err := l.CheckKey(t.Context(), "bob", fingerprint("alice"))
	refused(t, err, "was removed")
	ok(t, l.delete(t, "alice", "bob"))
	refused(t, l.checkKey(t, "bob"), "no longer a user")
	_, err = l.Add(t.Context(), "alice", "bob", false, line("another bob"))
	ok(t, err)
	bob, err := l.Check(t.Context(), "bob")
	if err != nil || bob.Name != "bob" || bob.Admin {
		t.Errorf("%+v, %v", bob, err)
	}
	refused(t, l.checkKey(t, "bob"), fingerprint("bob"), "was removed")
}

// TestCheckKeyExpires has somebody stay connected with a key that expires.
func TestCheckKeyExpires(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.AddKeys(t.Context(), "alice", "bob", `expiry-time="20991231Z" `+line("late"))
	ok(t, err)
	ok(t, l.checkKey(t, "late"))
	login, err := l.Login(t.Context(), public("late"), "bob", home)
	ok(t, err)
	if want := time.Date(2099, 12, 31, 0, 0, 1, 0, time.UTC); !login.Expires.Equal(want) { // for the whole second
		t.Errorf("the login says that the key ends at %v, want %v", login.Expires, want)
	}
	l.now = func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }
	refused(t, l.checkKey(t, "late"), fingerprint("late"), "expired at 2099-12-31")
}

// checkKey is CheckKey for bob, connected with the key of that name.
func (l lab) checkKey(t *testing.T, key string) error {
	_, err := l.CheckKey(t.Context(), "bob", fingerprint(key))
	return err
}
