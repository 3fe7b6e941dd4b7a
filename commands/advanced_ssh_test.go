package commands

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// The lines for ~/.ssh name the address that the client came to.
func TestSSHConfig(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	config := func(server, login, line string) answer {
		s := lab.session("bob", "")
		s.Server, s.Login = netip.MustParseAddrPort(server), login
		return lab.runIn(t.Context(), s, line)
	}
	got := config("[::ffff:192.0.2.1]:2222", "walt", "advanced ssh-config --alias bench")
	want := answer{`
Host bench
    HostName 192.0.2.1
    Port 2222
    User walt
    HostKeyAlias walt.server
    UserKnownHostsFile ~/.ssh/known_hosts.bench
# Nodes: names without a dot that ~/.ssh/known_hosts does not have, and no lab. Another such host, once: ssh -F none HOST
# This stays at the end: lines of other hosts go above it.
Match !originalhost bench host *,!*.*,!*:*,!localhost !exec "ssh-keygen -F '%h' 2>/dev/null || test -e ~/.ssh/known_hosts.'%h'"
    ProxyJump bench
    User root
    UserKnownHostsFile ~/.ssh/known_hosts.bench
`, "The host keys, for once and all: ssh -p 2222 walt@192.0.2.1 advanced known-hosts > ~/.ssh/known_hosts.bench\n", 0}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got = config("[2001:db8::1]:22", "bob", "advanced ssh-config")
	if !strings.HasPrefix(got.stdout, "\nHost lab\n    HostName 2001:db8::1\n    User bob\n") || !strings.HasPrefix(got.stderr, "The host keys, for once and all: ssh bob@2001:db8::1 advanced known-hosts > ~/.ssh/known_hosts.lab") {
		t.Errorf("got  %+v", got)
	}
	// Names of nodes that no other lab has.
	got = config("192.0.2.1:22", "walt", "advanced ssh-config --alias bench rpi-1,rpi-10")
	if want := "\n    UserKnownHostsFile ~/.ssh/known_hosts.bench\nHost rpi-1.bench\n    HostName rpi-1\nHost rpi-10.bench\n    HostName rpi-10\n# Nodes"; !strings.Contains(got.stdout, want) {
		t.Errorf("got  %+v", got)
	}
	if got := config("192.0.2.1:22", "walt", "advanced ssh-config rpi-9"); got.status != StatusFailed || got.stdout != "" {
		t.Errorf("of a node that is none: %+v", got)
	}
	for _, bad := range []string{"'two words'", "'*'", "-x", "'a\nHost b'", "é", "''", strings.Repeat("a", 64)} {
		if got := config("192.0.2.1:22", "walt", "advanced ssh-config --alias="+bad); got.status != StatusUsage || got.stdout != "" {
			t.Errorf("--alias=%s: %+v", bad, got)
		}
	}

	line := func(key string) string { return string(ssh.MarshalAuthorizedKey(signer(key).PublicKey())) }
	got = config("192.0.2.1:22", "walt", "advanced known-hosts")
	if want := (answer{"walt.server " + line("server") + "@cert-authority * " + line("host ca"), "", 0}); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
