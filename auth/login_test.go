package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.AddKeys(t.Context(), "bob", "bob",
		`command="node show",from="10.1.0.0/16" `+line("ci")+
			`expiry-time="202603141159" `+line("old")+
			`from="192.168.0.0/16" `+line("elsewhere"))
	ok(t, err)
	for _, test := range []struct {
		key, login string
		want       Login
		refusal    string
	}{
		{"alice", "walt", Login{User: "alice", Admin: true, Key: fingerprint("alice")}, ""},
		{"alice", "alice", Login{User: "alice", Admin: true, Key: fingerprint("alice")}, ""},
		{"bob", "walt", Login{User: "bob", Key: fingerprint("bob")}, ""},
		{"ci", "bob", Login{User: "bob", Key: fingerprint("ci"), Command: "node show", NoForwarding: true, Restricted: true}, ""},
		{"alice", "bob", Login{}, "belongs to alice"},
		{"alice", "root", Login{}, "belongs to alice"},
		{"alice", "Alice", Login{}, "belongs to alice"},
		{"alice", "", Login{}, "belongs to alice"},
		{"stranger", "walt", Login{}, "unknown key"},
		{"stranger", "alice", Login{}, "unknown key"},
		{"old", "walt", Login{}, "expired at 2026-03-14T11:59:00+02:00"},
		{"elsewhere", "walt", Login{}, "not allowed from 10.1.2.3"},
	} {
		got, err := l.Login(t.Context(), public(test.key), test.login, home)
		if got != test.want {
			t.Errorf("%s as %q: %+v", test.key, test.login, got)
		}
		checkRefusal(t, err, test.refusal)
	}
}

// checkRefusal checks that err is a Refusal that says why, or nil for "".
func checkRefusal(t *testing.T, err error, why string) {
	t.Helper()
	if why == "" && err == nil {
		return
	}
	r, ok := errors.AsType[Refusal](err)
	if !ok || why == "" || !strings.Contains(r.Error(), why) {
		t.Errorf("error %v, want a refusal: %q", err, why)
	}
}

func TestLoginFailsClosed(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Login(ctx, public("alice"), "walt", home)
	if _, refusal := errors.AsType[Refusal](err); err == nil || refusal {
		t.Errorf("after a cancel: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, login := range []string{"walt", "bob", "root\x1b[2J" + strings.Repeat("x", 1000)} {
		ok(t, l.Refused(t.Context(), login, "SHA256:abc", netip.MustParseAddr("::ffff:10.0.0.9"), "unknown key"))
	}
	want := []string{
		"login-refused server walt: SHA256:abc: unknown key from 10.0.0.9",
		"login-refused server bob: SHA256:abc: unknown key from 10.0.0.9",
		`login-refused server "root\x1b[2J` + strings.Repeat("x", 32) + `": SHA256:abc: unknown key from 10.0.0.9`,
	}
	if got := l.history(t); !slices.Equal(got, want) {
		t.Errorf("history: %q", got)
	}
}

func BenchmarkLogin(b *testing.B) {
	l := newTeam(b)
	for i := range 100 {
		name := fmt.Sprint("user", i)
		_, err := l.Add(b.Context(), "alice", Name(name), false, `from="10.0.0.0/8,!10.0.0.1",command="node show" `+line(name)+line(name+"b")+line(name+"c"))
		ok(b, err)
	}
	for _, name := range []string{"user50b", "user50", "stranger"} {
		key := public(name)
		b.Run(map[string]string{"user50b": "plain", "user50": "restricted", "stranger": "unknown"}[name], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := l.Login(b.Context(), key, "walt", home)
				if (err != nil) != (name == "stranger") {
					b.Fatal(err)
				}
			}
		})
	}
}
