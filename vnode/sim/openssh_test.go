package sim

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// openSSH returns how to run the real client against a node, as its user would.
func openSSH(t *testing.T, addr string, key []byte) func(stdin string, args ...string) result {
	t.Helper()
	program, err := exec.LookPath("ssh")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("install openssh-client to run this test")
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return func(stdin string, args ...string) result {
		t.Helper()
		cmd := exec.Command(program, append([]string{
			"-F", "none", "-i", file, "-p", port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "root@" + host,
		}, args...)...)
		var out, complaints strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaints
		status := 0
		if err := cmd.Run(); err != nil {
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				t.Fatal(err)
			}
			status = exit.ExitCode()
		}
		return result{out.String(), complaints.String(), status}
	}
}

func TestOpenSSH(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.sim.Trust, err = ssh.NewPublicKey(public); err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	run := openSSH(t, l.boot(t, "rpi-1"), pem.EncodeToMemory(block))
	for name, try := range map[string]struct {
		stdin string
		args  []string
		want  result
	}{
		"a command":   {"", []string{"cat", "/etc/release"}, result{"one\n", "", 0}},
		"a status":    {"", []string{"nope"}, result{"", "sh: nope: command not found\n", 127}},
		"input":       {"through\n", []string{"cat"}, result{"through\n", "", 0}},
		"a script":    {"cd /etc\nls\nexit 5\n", []string{"-T"}, result{"release\n", "", 5}},
		"a terminal":  {"hostname\nexit 4\n", []string{"-tt"}, result{"", "", 4}},
		"a subsystem": {"", []string{"-s", "netconf"}, result{"", "subsystem request failed on channel 0\r\n", 255}},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(try.stdin, try.args...)
			if name == "a terminal" { // what is typed and what is answered may mix
				if !strings.Contains(got.out, "\nrpi-1\r\n") && !strings.Contains(got.out, "# rpi-1\r\n") {
					t.Errorf("saw %q", got.out)
				}
				got.out = ""
			}
			if got != try.want {
				t.Errorf("got  %+v\nwant %+v", got, try.want)
			}
		})
	}
	if got := run("", "reboot"); got != (result{"The system is going down NOW!\n", "", 0}) {
		t.Errorf("reboot: %+v", got)
	}
	l.expect(t, "down", "boot", "up")
}
