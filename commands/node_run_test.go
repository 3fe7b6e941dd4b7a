package commands

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sshserver "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"walt/nodes"
)

// machine is the SSH server of a node. Its programs are: "fail N", which ends
// with that status; "die NAME", which a signal ends; "both", which writes two lines, the last without an end, and
// one to its standard error; "cat"; and anything else, which is echoed, and ends with the
// status N on a terminal that is called failN.
func machine(t *testing.T, name string) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &sshserver.Server{
		PublicKeyHandler: func(_ sshserver.Context, key sshserver.PublicKey) bool {
			return sshserver.KeysEqual(key, signer("lab").PublicKey())
		},
		Handler: func(s sshserver.Session) {
			status := 0
			switch line := s.RawCommand(); {
			case strings.HasPrefix(line, "fail"):
				fmt.Sscanf(line, "fail %d", &status)
			case strings.HasPrefix(line, "die "):
				s.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Name       string
					Core       bool
					Msg, Order string
				}{Name: line[len("die "):]}))
				s.Close()
			case line == "both":
				fmt.Fprintf(s, "first of %s\n", name)
				fmt.Fprintf(s.Stderr(), "trouble\n")
				io.WriteString(s, "second\nno end")
			case line == "cat":
				io.Copy(s, s)
			default:
				pty, _, terminal := s.Pty()
				fmt.Fprintf(s, "%s as %s, terminal %v %s\n", line, s.User(), terminal, pty.Term)
				fmt.Sscanf(pty.Term, "fail%d", &status)
			}
			s.Exit(status)
		},
	}
	srv.AddHostKey(signer(name))
	var running sync.WaitGroup
	running.Go(func() { // ends with srv
		if err := srv.Serve(listener); !errors.Is(err, sshserver.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { srv.Close(); running.Wait() })
	return listener.Addr().String()
}

func TestRunOnOneNode(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.up("pc-1", machine(t, "pc-1"))
	lab.tell([]step{
		{user: "bob", line: `node run pc-1 echo -n "two  words"`, stdout: "echo -n \"two  words\" as root, terminal false \n"},
		{user: "bob", line: `node run pc-1 'ls | wc -l'`, stdout: "ls | wc -l as root, terminal false \n"},
		{user: "bob", line: `walt node run --yes pc-1 -- ls  -l "$HOME" 'a'b`, stdout: "ls  -l \"$HOME\" 'a'b as root, terminal false \n"},
		{
			user: "bob", line: "node run pc-1 --yes ls", stdout: "--yes ls as root, terminal false \n",
			stderr: "--yes is a part of the command there: options of node run go before SET.\n",
		},
		{
			user: "bob", line: "node run pc-1 --", status: StatusUsage,
			stderr: "walt: node run: COMMAND is missing\n  usage: node run [--yes] [--no-input] SET COMMAND...\n",
		},
		{user: "bob", line: "node run pc-1 cat", stdin: "what bob\nsends", stdout: "what bob\nsends"},
		{user: "bob", line: "node run pc-1 both", stdout: "first of pc-1\nsecond\nno end", stderr: "trouble\n"},
		{user: "bob", line: "node run pc-1 fail 3", stderr: "walt: the command ended with status 3 on pc-1\n", status: 3},
		{user: "bob", line: "node run pc-1 fail 127", stderr: "walt: the command ended with status 127 on pc-1\n", status: 127},
		{user: "bob", line: "node run pc-1 die KILL", stderr: "walt: the command ended with status 137 on pc-1\n", status: 128 + 9},
		{user: "bob", line: "node run pc-1 die TERM", stderr: "walt: the command ended with status 143 on pc-1\n", status: 128 + 15},
		{user: "bob", line: "node run pc-1 die STRANGE", stderr: "walt: the command ended with status 128 on pc-1\n", status: 128},
		{user: "bob", line: `node run pc-1 "ls -l" # all of it`, stdout: "ls -l as root, terminal false \n"},
		{user: "bob", line: `node run pc-1 ls a\  `, stdout: "ls a\\  as root, terminal false \n"},
		{user: "bob", line: "node run rpi-1 true", stderr: "walt: rpi-1 is not up (off)\n  wait for it with: node wait rpi-1\n", status: StatusFailed},
		{
			user: "bob", line: "node shell pc-1", stdout: " as root, terminal false \n",
			stderr: "Without a terminal the shell reads commands from standard input, to its end. For a prompt, ssh needs -t.\n",
		},
		{
			user: "bob", line: "node shell pc-1,rpi-1", status: StatusUsage,
			stderr: "walt: node shell: one node at a time\n  usage: node shell [--yes] [--no-input] NODE\n",
		},
	})
	var raw []bool
	s := lab.terminal("bob")
	s.Terminal.Raw = func(on bool) { raw = append(raw, on) }
	if got := lab.runIn(t.Context(), s, "node shell pc-1"); got != (answer{" as root, terminal true xterm\r\n", "", StatusDone}) || !slices.Equal(raw, []bool{true, false}) {
		t.Errorf("on a terminal, raw %v: %+v", raw, got)
	}
	s = lab.terminal("bob")
	s.Terminal.Name = "fail130"
	if got := lab.runIn(t.Context(), s, "node shell pc-1"); got != (answer{" as root, terminal true fail130\r\n", "", 130}) {
		t.Errorf("with ^C typed last: %+v", got)
	}
}

// With several nodes each line says where it comes from, and lines stay whole.
func TestRunOnSeveralNodes(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	for _, n := range []nodes.Name{"rpi-1", "rpi-2", "pc-1"} {
		lab.up(n, machine(t, string(n)))
	}
	got := lab.run("bob", "node run rpi-1,rpi-2 both", "not for them")
	for _, n := range []string{"rpi-1", "rpi-2"} {
		for _, want := range []string{n + ": first of " + n + "\n", n + ": second\n", n + ": no end\n"} {
			if strings.Count(got.stdout, want) != 1 {
				t.Errorf("standard output lacks %q:\n%s", want, got.stdout)
			}
		}
		if !strings.Contains(got.stderr, n+": trouble\n") {
			t.Errorf("standard error:\n%s", got.stderr)
		}
	}
	if strings.Count(got.stdout, "\n") != 6 || got.status != StatusDone {
		t.Errorf("%+v", got)
	}
	if got := lab.run("bob", "node run rpi-1,rpi-2,rpi-10 cat", "not for them"); got.stdout != "" || got.status != StatusFailed ||
		got.stderr != "The input is for none of the nodes: it is passed on only to a single one.\nwalt: ran on 2 of 3: rpi-10 is off\n  wait for the rest with: node wait rpi-10\n" {
		t.Errorf("%+v", got)
	}
	if got := lab.run("bob", "node run rpi-1,rpi-2 fail 7", ""); got.status != 7 ||
		got.stderr != "walt: failed on rpi-1 (status 7), rpi-2 (status 7)\n" {
		t.Errorf("%+v", got)
	}
	// The highest status counts, also when a node is not up.
	for line, want := range map[string]int{"die KILL": 137, "fail 0": StatusDone, "fail 3": 3} {
		if got := lab.run("bob", "node run rpi-1,rpi-2 "+line, ""); got.status != want {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if got := lab.run("bob", "node run rpi-1,rpi-10 fail 127", ""); got.status != 127 || !strings.Contains(got.stderr, "failed on rpi-1 (status 127)") {
		t.Errorf("%+v", got)
	}
	if got := lab.run("bob", "node run rpi-1,rpi-2 -- both", ""); got.status != StatusDone || strings.Count(got.stdout, "\n") != 6 {
		t.Errorf("%+v", got)
	}
}

func TestLineWriter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		writes []string
		want   string
	}{
		{nil, ""},
		{[]string{"a\n"}, "n: a\n"},
		{[]string{"a", "b\nc"}, "n: ab\nn: c\n"},
		{[]string{"\n\n"}, "n: \nn: \n"},
		{[]string{"a\nb\n", "c\n"}, "n: a\nn: b\nn: c\n"},
		{[]string{strings.Repeat("x", maxLine+1)}, "n: " + strings.Repeat("x", maxLine+1) + "\n"},
		{[]string{strings.Repeat("x", maxLine), "y\n"}, "n: " + strings.Repeat("x", maxLine) + "\nn: y\n"},
	} {
		var out bytes.Buffer
		p := newLineWriter(&out, "n", &sync.Mutex{})
		for _, s := range c.writes {
			if n, err := io.WriteString(p, s); n != len(s) || err != nil {
				t.Errorf("%.20q: %d, %v", s, n, err)
			}
		}
		p.flush()
		if out.String() != c.want {
			t.Errorf("%.20q: %.80q, want %.80q", c.writes, out.String(), c.want)
		}
	}
}

func TestReboot(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	before := len(lab.rack.started)
	lab.tell([]step{
		{user: "bob", line: "node reboot pc-1", stdout: "pc-1 is rebooting\n"},
		{user: "bob", line: "node reboot pc-1 --hard", stdout: "pc-1 is rebooting\n"},
		{
			user: "bob", line: "node reboot rpi-1,pc-1,rpi-2", stdout: "pc-1 is rebooting\n", status: StatusFailed,
			stderr: "walt: the server has no means to reboot rpi-1, rpi-2\n  switch it off and on by hand: a node boots its image at every start\n",
		},
	})
	if got := lab.rack.started[before:]; !slices.Equal(got, []nodes.Name{"pc-1", "pc-1", "pc-1"}) {
		t.Errorf("started: %v", got)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lab := newTestLab(t)
		lab.up("pc-1", "127.0.0.1:4711")
		lab.tell([]step{{user: "bob", line: "node wait pc-1 --timeout 1s", stdout: "pc-1 is up\n"}})

		begin := time.Now()
		lab.tell([]step{{
			user: "bob", line: "node wait rpi-1,pc-1 --timeout 5m", status: StatusFailed,
			stderr: "Waiting for rpi-1 (off).\nwalt: not up after 5m: rpi-1 (off)\n  see what goes on with: node show --all\n",
		}})
		if waited := time.Since(begin); waited != 5*time.Minute {
			t.Errorf("waited %v", waited)
		}

		go func() {
			time.Sleep(time.Second)
			lab.up("rpi-1", "127.0.0.1:4712")
		}()
		lab.tell([]step{{user: "bob", line: "node wait rpi-1,pc-1", stdout: "pc-1 is up\nrpi-1 is up\n", stderr: "Waiting for rpi-1 (off).\n"}})

		got := lab.runIn(t.Context(), lab.terminal("bob"), "node wait rpi-2 --timeout 1s")
		if want := "\r\x1b[KWaiting for rpi-2 (off) ...\r\x1b[Kwalt: not up after 1s"; !strings.HasPrefix(got.stderr, want) {
			t.Errorf("on a terminal %q, want %q", got.stderr, want)
		}

		// It gets another name meanwhile.
		go func() {
			time.Sleep(time.Second)
			lab.run("bob", "node rename rpi-2 rpi-7", "")
			lab.up("rpi-7", "127.0.0.1:4713")
		}()
		lab.tell([]step{{user: "bob", line: "node wait rpi-2", stdout: "rpi-7 is up\n", stderr: "Waiting for rpi-2 (off).\n"}})

		// Up on the image of before is not up.
		lab.run("bob", "node acquire rpi-1", "") // it cannot be told to reboot
		lab.tell([]step{{
			user: "bob", line: "node wait rpi-1 --timeout 1", status: StatusFailed, // seconds
			stderr: "Waiting for rpi-1 (up).\nwalt: not up after 1s: rpi-1 (up)\n  see what goes on with: node show --all\n",
		}})
		lab.store.Close()
	})
}

// Many lines that come at once are written at once, a part at a time.
func TestLinesOfOneRead(t *testing.T) {
	t.Parallel()
	const many = 20_000
	var mu sync.Mutex
	out := &writes{}
	l := newLineWriter(out, "rpi-1", &mu)
	if _, err := l.Write([]byte(strings.Repeat("x\n", many) + "no end")); err != nil {
		t.Fatal(err)
	}
	l.flush()
	text := strings.Join(out.all, "")
	if text != strings.Repeat("rpi-1: x\n", many)+"rpi-1: no end\n" {
		t.Errorf("%d bytes", len(text))
	}
	for _, w := range out.all {
		if len(w) > bufferSize+100 || len(out.all) > many/1000 {
			t.Fatalf("%d writes, one of %d bytes", len(out.all), len(w))
		}
	}
}

func TestListStates(t *testing.T) {
	got := listStates([]nodes.Missing{{Name: "a", State: nodes.Off}, {Name: "b", State: nodes.Booting, Cycles: 1}, {Name: "c", State: nodes.Booting, Cycles: 2}})
	if want := "a (off), b (booting, after 1 power cycle), c (booting, after 2 power cycles)"; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}
