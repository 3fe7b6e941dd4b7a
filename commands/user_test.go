package commands

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/auth"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{user: "bob", line: "whoami", stdout: "bob, with the key " + fingerprint("bob") + "\n"},
		{user: "alice", line: "whoami", stdout: "alice, an administrator, with the key " + fingerprint("alice") + "\n"},
		{user: "alice", line: "whoami --json", stdout: `{"admin":true,"key":"` + fingerprint("alice") + `","user":"alice"}` + "\n"},
		{
			user: "bob", line: "user add dave", stdin: publicKey("dave"), status: StatusFailed,
			stderr: "walt: only administrators manage users\n  ask an administrator; see who is one with: user show\n",
		},
		{
			user: "alice", line: "user add dave --admin", stdin: `from="10.0.0.0/8" ` + publicKey("dave"),
			stdout: "dave can log in with " + fingerprint("dave") + " dave@example\n",
			stderr: "But not from where you are: the key is not allowed from 192.0.2.7, by its option from.\n" +
				"On nodes: its option from does not count there, since the way to them is this server (see: help show reaching-nodes).\n",
		},
		{
			user: "alice", line: "user add-key carol", stdin: `restrict,expiry-time="20261122Z" ` + publicKey("old") + `from="192.0.2.*" ` + publicKey("near"),
			stdout: "carol cannot log in with " + fingerprint("old") + " old@example: the key expired at 2026-11-22T00:00:00Z\n" +
				"carol can log in with " + fingerprint("near") + " near@example\n",
			stderr: "On nodes: its option from does not count there, since the way to them is this server (see: help show reaching-nodes).\n",
		},
		{
			user: "bob", line: "user show carol",
			stdout: "NAME   ROLE  KEY" + strings.Repeat(" ", 49) + "COMMENT        OPTIONS\n" +
				"carol        " + fingerprint("carol") + "  carol@example\n" +
				"             " + fingerprint("old") + "  old@example    restrict,expiry-time=\"20261122Z\" (expired)\n" +
				"             " + fingerprint("near") + "  near@example   from=\"192.0.2.*\"\n",
		},
		{
			user: "bob", line: "user show dave",
			stdout: "NAME  ROLE   KEY" + strings.Repeat(" ", 49) + "COMMENT       OPTIONS\n" +
				"dave  admin  " + fingerprint("dave") + "  dave@example  from=\"10.0.0.0/8\"\n",
		},
		{
			user: "bob", line: "user show dave --json",
			stdout: `{"users":[{"name":"dave","admin":true,"keys":[{"fingerprint":"` + fingerprint("dave") +
				`","comment":"dave@example","options":"from=\"10.0.0.0/8\"","expired":false}]}]}` + "\n",
		},
		{user: "bob", line: "user add-key", stdin: publicKey("phone"), stdout: "bob can log in with " + fingerprint("phone") + " phone@example\n"},
		{
			user: "bob", line: "user add-key carol", stdin: publicKey("tablet"), status: StatusFailed,
			stderr: "walt: only administrators manage the keys of others, here of carol\n  ask an administrator; see who is one with: user show\n",
		},
		{
			user: "bob", line: "user show bob",
			stdout: "NAME  ROLE  KEY" + strings.Repeat(" ", 49) + "COMMENT        OPTIONS\n" +
				"bob         " + fingerprint("bob") + "  bob@example\n" +
				"            " + fingerprint("phone") + "  phone@example\n",
		},
		{user: "bob", line: "user remove-key " + fingerprint("phone"), stdout: fingerprint("phone") + " of bob is removed\n"},
		{
			user: "alice", line: "user add-key bob", stdin: "", status: StatusUsage,
			stderr: "walt: there is no public key in the input\n  pass it on standard input: ssh walt@SERVER user add-key bob < KEY.pub\n",
		},
		{
			user: "alice", line: "user add --admin erin", stdin: "\n", status: StatusUsage,
			stderr: "walt: there is no public key in the input\n  pass it on standard input: ssh walt@SERVER user add erin --admin < KEY.pub\n",
		},
		{
			user: "alice", line: "user add-key bob", stdin: strings.Repeat("#\n", auth.MaxInput), status: StatusUsage,
			stderr: "walt: more than 256 KiB of keys\n  send only the .pub file of the user\n",
		},
		{user: "alice", line: "user show nobody-like-it", status: StatusFailed, stderr: "walt: unknown user nobody-like-it\n  see all users with: user show\n"},
	})
	if want := []string{"bob " + fingerprint("phone")}; !slices.Equal(lab.cuts, want) {
		t.Errorf("ended the sessions of %q, want those of %q", lab.cuts, want)
	}
	if got := lab.runIn(t.Context(), lab.terminal("bob"), "user add-key"); !strings.HasPrefix(got.stderr, "Paste the public key, press Enter, and then Ctrl-D; Ctrl-C gives up.\n") {
		t.Errorf("on a terminal: %+v", got)
	}
}

// Whom administrators are is what the next command sees, also of those connected.
func TestPromoteAndDemote(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{
			user: "bob", line: "user promote bob", status: StatusFailed,
			stderr: "walt: only administrators manage users\n  ask an administrator; see who is one with: user show\n",
		},
		{
			user: "alice", line: "user demote alice", stdin: "y\n", status: StatusFailed,
			stderr: "walt: alice is the last administrator and cannot be demoted\n  make another administrator first: user promote USER\n",
		},
		{user: "alice", line: "user promote alice", status: StatusFailed, stderr: "walt: alice is an administrator already\n"},
		{user: "alice", line: "user promote bob", stdout: "bob is an administrator now\n"},
		{user: "bob", line: "whoami", stdout: "bob, an administrator, with the key " + fingerprint("bob") + "\n"},
		{
			user: "alice", line: "user demote alice", stdin: "n\n", status: StatusInUse,
			stderr: "Only another administrator can make you one again.\nDemote yourself all the same? [y/N] \nwalt: not confirmed; nothing changed\n",
		},
		{user: "alice", line: "whoami", stdout: "alice, an administrator, with the key " + fingerprint("alice") + "\n"},
		{user: "alice", line: "user demote alice --yes", stdout: "alice is no longer an administrator\n"},
		{
			user: "alice", line: "advanced backup", status: StatusFailed,
			stderr: "walt: only administrators make backups\n  see who is one with: user show\n",
		},
		{user: "bob", line: "user demote carol", status: StatusFailed, stderr: "walt: carol is no administrator\n  see who is one with: user show\n"},
	})
	restricted := lab.session("bob", "")
	restricted.Restricted = true
	if got := lab.runIn(t.Context(), restricted, "user promote carol"); got.status != StatusFailed || !strings.Contains(got.stderr, "a key with options") {
		t.Errorf("with a key that has options: %+v", got)
	}
	if got := lab.ok("bob", "log show"); !strings.Contains(got, " user alice: bob: made an administrator\n") || !strings.Contains(got, " user alice: alice: no longer an administrator\n") {
		t.Errorf("the log:\n%s", got)
	}
}

func TestUserRemove(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1")
	lab.ok("carol", "node acquire rpi-2")
	lab.tell([]step{
		{
			user: "alice", line: "user remove bob --heir carol",
			stdout: "bob/rpi-3-b-default is now carol/rpi-3-b-default-2, since carol has a rpi-3-b-default\nbob is removed\n",
		},
		{user: "carol", line: "node show --names-only", stdout: "rpi-1\nrpi-2\n"},
		{
			user: "alice", line: "user remove carol --force",
			stdout: "rpi-1 is free\nrpi-2 is free\ncarol/rpi-3-b-default is deleted\ncarol/rpi-3-b-default-2 is deleted\ncarol is removed\n",
		},
		{
			user: "alice", line: "user remove alice", status: StatusFailed,
			stderr: "walt: alice is the last administrator and cannot be removed\n  make another administrator first: user promote USER\n",
		},
	})
	lab.tell([]step{{user: "bob", line: "whoami", status: StatusFailed, stderr: "walt: bob is no longer a user of this lab\n  ask an administrator\n"}})
	if got := lab.run("alice", "user remove bob", ""); got.status != StatusFailed {
		t.Errorf("removed twice: %+v", got)
	}
}

// A certificate that expires ends what was begun with it.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	why := ""
	s := &Session{
		User: "bob", Certified: true, Expires: lab.now().Add(time.Minute), Out: io.Discard, Err: io.Discard,
		End: func(reason string) { why = reason },
	}
	if status := lab.app.Run(t.Context(), s, "whoami"); status != StatusDone || why != "" {
		t.Errorf("before: status %d, ended: %q", status, why)
	}
	lab.pass(time.Minute)
	if status := lab.app.Run(t.Context(), s, "whoami"); status != StatusFailed || !strings.Contains(why, "certificate that you logged in with expired at") {
		t.Errorf("after: status %d, ended: %q", status, why)
	}
}
