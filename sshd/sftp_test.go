package sshd

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
)

// sftpOf begins the subsystem.
func sftpOf(t *testing.T, c *gossh.Client) *running {
	t.Helper()
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go gossh.DiscardRequests(requests)
	t.Cleanup(func() { ch.Close() })
	if ok, err := ch.SendRequest("subsystem", true, gossh.Marshal(struct{ Name string }{"sftp"})); err != nil || !ok {
		t.Fatal(ok, err)
	}
	r := &running{t: t, in: ch, out: &buffer{}, err: &buffer{}}
	go io.Copy(r.out, ch) // both end with the channel
	go io.Copy(r.err, ch.Stderr())
	return r
}

// A key that is for one command, or of which forwarding was taken, has no files.
func TestNoFiles(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for name, login := range map[string]auth.Login{
		"it runs one command": {User: "alice", Command: "echo x"},
		"it has no files":     {User: "alice", NoForwarding: true},
	} {
		l.users.allow(l.key["alice"], login)
		r := sftpOf(t, l.login(t, "alice"))
		r.err.expect(t, "walt: your key ")
		if out := r.out.String(); out != "" {
			t.Errorf("%s: %q", name, out)
		}
	}
}

// Files end with the key, and say why; a server that stops does not wait for them longer than
// for commands.
func TestFilesEnd(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	bob := sftpOf(t, l.login(t, "bob"))
	bob.out.expect(t, "bob: ")
	l.Cut("bob", "")
	bob.err.expect(t, "walt: closed: bob is no longer a user of this lab")
	alice := sftpOf(t, l.login(t, "alice"))
	alice.out.expect(t, "alice: ")
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = l.Shutdown(ctx)
	alice.err.expect(t, "the server is shutting down")
	if n := strings.Count(bob.err.String(), "told beside"); n != 1 {
		t.Errorf("one sentence was told %d times", n)
	}
}
