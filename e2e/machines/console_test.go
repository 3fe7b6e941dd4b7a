package machines

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/netboot/boottest"
)

// atConsole is a user at the console of a machine.
type atConsole struct {
	*exec.Cmd
	w    *world
	keys io.WriteCloser

	mu   sync.Mutex
	seen strings.Builder
}

func (c *atConsole) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.Write(p)
}

func (c *atConsole) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

// sits begins a command at a console, with options of ssh.
func (w *world) sits(user, command string, options ...string) *atConsole {
	w.t.Helper()
	c := &atConsole{w: w, Cmd: w.SSH(user, options, strings.Fields(command)...)}
	c.Stdout, c.Stderr = c, c
	keys, err := c.StdinPipe()
	if err = errors.Join(err, c.Start()); err != nil {
		w.t.Fatal(err)
	}
	c.keys = keys
	return c
}

// sees waits until the user has seen a text.
func (c *atConsole) sees(want string) {
	c.w.t.Helper()
	for end := time.Now().Add(boottest.Wait); !strings.Contains(c.text(), want); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.w.t.Fatalf("seen is %q, and no %q in time", c.text(), want)
		}
	}
}

func (c *atConsole) types(text string) {
	c.w.t.Helper()
	if _, err := io.WriteString(c.keys, text); err != nil {
		c.w.t.Fatal(err)
	}
}

// serialShell has a shell of the machine be on its console.
func (w *world) serialShell(user, node string) {
	w.t.Helper()
	w.does(user, "node run --yes "+node+" setsid sh -c 'sh -i </dev/ttyS0 >/dev/ttyS0 2>&1' >/dev/null 2>&1 &")
}

// The console of a machine goes on over boots, is there again after a restart of the server,
// and is another one for the next owner.
func TestConsoleOfAMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {"etc/name": "default\n"}})
	w.does("alice", "node create vm1 --model pc-x86-64")
	first := w.sits("alice", "node console vm1") // before it is up
	w.does("alice", "node wait vm1")
	w.serialShell("alice", "vm1")
	first.types("echo $((40+2))-alice\n")
	first.sees("42-alice")
	reader := w.sits("bob", "node console vm1 --yes")
	reader.sees("alice writes there, and you read.")
	reader.sees("42-alice")
	first.types("echo $((50+3))-both\n")
	for _, c := range []*atConsole{first, reader} {
		c.sees("53-both")
	}

	if err := errors.Join(w.Kill(), w.Start()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*atConsole{first, reader} {
		c.keys.Close()
		if err := w.Finish(c.Cmd); err == nil {
			t.Error("a console goes on without its server")
		}
	}
	w.does("alice", "node wait vm1")
	again := w.sits("alice", "node console vm1", "-tt", "-o", "EscapeChar=~")
	again.sees("53-both") // is replayed
	again.types("echo $((60+4))-again\n")
	again.sees("64-again")
	again.types("~B") // of ssh, behind the end of a line
	again.sees("[walt: a BREAK was sent]")
	again.types("h")
	again.sees("sysrq: HELP")

	w.does("alice", "node reboot vm1 --hard")
	w.does("alice", "node wait vm1")
	w.serialShell("alice", "vm1")
	again.types("echo $((70+5))-rebooted\n")
	again.sees("75-rebooted")
	if out := w.does("alice", "node console vm1 --history"); !strings.Contains(out, "42-alice") || !strings.Contains(out, "75-rebooted") {
		t.Errorf("the history is %q", out)
	}

	w.does("bob", "node acquire vm1 --yes")
	if err := w.Finish(again.Cmd); err == nil || !strings.Contains(again.text(), "walt: vm1 changed hands") {
		t.Errorf("alice's console ends with %v: %q", err, again.text())
	}
	w.does("bob", "node wait vm1")
	w.serialShell("bob", "vm1")
	next := w.sits("bob", "node console vm1")
	next.types("echo $((80+6))-bob\n")
	next.sees("86-bob")
	for what, out := range map[string]string{"the replay": next.text(), "the history": w.does("bob", "node console vm1 --history")} {
		if strings.Contains(out, "alice") || strings.Contains(out, "rebooted") || !strings.Contains(out, "86-bob") {
			t.Errorf("%s of bob is %q", what, out)
		}
	}
}
