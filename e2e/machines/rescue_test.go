package machines

import (
	"strings"
	"testing"

	"walt/netboot/boottest"
)

// Somebody can enter a machine whose boot stopped, on purpose or not, is told where that
// is, and finds the reason there.
func TestRescue(t *testing.T) {
	boottest.NeedLong(t)
	w := newWorld(t, map[string]map[string]string{
		"waltplatform/pc-x86-64-default": {"etc/name": "default\n"},
		"alice/broken":                   {"run": "this is no directory\n"},
	})
	fails := func(command, stdin string, words ...string) {
		t.Helper()
		out, errs, err := w.says("alice", stdin, command)
		for _, word := range words {
			if !strings.Contains(out+errs, word) {
				t.Errorf("%s: %q, %q, %v lacks %q", command, out, errs, err, word)
			}
		}
	}
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node config vm1 boot.rescue=on")
	w.does("alice", "node reboot vm1 --hard")
	fails("node wait vm1", "", "vm1 stopped before the root is mounted, as boot.rescue says", "node shell vm1")
	fails("node shell vm1", "help\nmounts\nls\nexit\n", "What answers is the server's own init", "walt: [", "This is no shell of the image: type help", "goes on with the boot", "devtmpfs /dev", `no command "ls" here`)
	w.until("alice", "node show vm1", "stopped in its initramfs")
	if out := w.does("alice", "node run vm1 network"); !strings.Contains(out, "10.217.0.") {
		t.Errorf("network: %q", out)
	}
	w.does("alice", "node config vm1 boot.rescue=off") // for the next boot
	if out := w.does("alice", "node run vm1 continue"); out != "The boot goes on.\n" {
		t.Errorf("continue: %q", out)
	}
	w.until("alice", "node show --json", `"state":"up"`)
	w.does("alice", "node run vm1 head -c 3000000 /dev/zero > /root/file")
	w.until("alice", "node show vm1", "written  2.9 MiB of ")

	// A boot that fails on the machine.
	w.does("alice", "image clone lab:alice/broken")
	w.does("alice", "node boot vm1 broken")
	w.until("alice", "node show --json", "/run: not a directory")
	fails("node shell vm1", "log\nexit\n", "vm1 could not boot: ", "What answers is the server's own init", "the boot ends here", "The boot has failed")
	fails("node run vm1 continue", "", "has not stopped on purpose")
	w.does("alice", "node boot vm1 default")
	w.does("alice", "node wait vm1")
}

// says runs a command that may fail, and returns what it printed.
func (w *world) says(user, stdin, command string) (out, errs string, err error) {
	w.t.Helper()
	c := w.SSH(user, nil, strings.Fields(command)...)
	var o, e strings.Builder
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &o, &e
	err = w.Finish(c)
	return o.String(), e.String(), err
}
