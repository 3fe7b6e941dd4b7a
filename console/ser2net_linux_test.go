package console

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// ser2net is the program of that name in front of a board, which it can be started and
// ended for again and again.
type ser2net struct {
	t       *testing.T
	program string
	config  string
	running *exec.Cmd
}

// newSer2net returns one that accepts connections in a way, "tcp" or "telnet,tcp", for what
// it calls a connector, as of a serial device, and the target that leads to it.
func newSer2net(t *testing.T, accepts, connector string) (*ser2net, Target) {
	t.Helper()
	program, err := exec.LookPath("ser2net")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/ser2net")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("without ser2net")
	}
	l, err := net.Listen("tcp", "127.31.41.59:0") // which no other test takes while it is not there
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr)
	l.Close()
	s := &ser2net{t: t, program: program, config: filepath.Join(t.TempDir(), "ser2net.yaml")}
	lines := fmt.Sprintf("connection: &board\n  accepter: %s,%v,%d\n  connector: %s\n", accepts, at.IP, at.Port, connector)
	if err := os.WriteFile(s.config, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, Target{Addr: at.String(), Telnet: accepts != "tcp"}
}

func (s *ser2net) start() {
	s.t.Helper()
	s.running = exec.Command(s.program, "-n", "-c", s.config)
	if err := s.running.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.kill)
}

func (s *ser2net) kill() {
	_ = s.running.Process.Kill() // twice, at the end of the test
	_ = s.running.Wait()
}

// Through ser2net everything that a board says comes, is replayed and kept, and everything that
// is typed goes there, also after it was started anew, and after a flood, whether it speaks
// telnet or not.
func TestSer2net(t *testing.T) {
	t.Parallel()
	for _, accepts := range []string{"tcp", "telnet,tcp", "telnet(rfc2217),tcp"} {
		t.Run(accepts, func(t *testing.T) {
			t.Parallel()
			throughSer2net(t, accepts)
		})
	}
}

func throughSer2net(t *testing.T, accepts string) {
	board, device, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer board.Close()
	defer device.Close()
	if err := makeRaw(int(device.Fd()), usualSpeed); err != nil { // what it says before anybody has it open is not lost
		t.Fatal(err)
	}
	server, target := newSer2net(t, accepts, "serialdev,"+device.Name()+",115200n81,local")
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	bob := sit(t, l, "bob", "bob 1")
	bob.Take()
	says := func(text string) {
		t.Helper()
		if _, err := io.WriteString(board, text); err != nil {
			t.Fatal(err)
		}
		wants(t, bob, text)
	}
	d.Connect(mac, target)
	until(t, "it is told that ser2net is not there", func() bool {
		is, why := l.Plugged()
		return !is && why == "connection refused"
	})

	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for range 2 {
		server.start()
		says("login: ")
		types(t, bob, "root\n")
		receives(t, board, "root\n")
		says(string(all))
		types(t, bob, string(all))
		receives(t, board, string(all))
		server.kill()
		until(t, "it is noticed that ser2net is gone", func() bool {
			is, _ := l.Plugged()
			return !is
		})
	}
	said := strings.Repeat("login: "+string(all), 2)
	wants(t, sit(t, l, "carol", "bob 1"), said)
	if got := history(t, l, "bob 1"); got != said {
		t.Errorf("kept is %q", got)
	}

	server.start()
	flood := bytes.Repeat([]byte("0123456789abcde\n"), 2*recordSize/16)
	sent := make(chan error, 1)
	go func() { // ends once all is taken
		_, err := board.Write(append(flood, "# "...))
		sent <- err
	}()
	until(t, "the last of a flood comes", func() bool { return bytes.HasSuffix(l.Last("bob 1"), []byte("# ")) })
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if got := history(t, l, "bob 1"); len(got) > 2*recordSize || !strings.HasPrefix(got, said) {
		t.Errorf("%d bytes are kept, from %.20q on", len(got), got)
	}
	reads(bob) // the last of it, and the board is silent from here on
	types(t, bob, "x")
	receives(t, board, "x")
	if got := reads(bob); got != "" {
		t.Errorf("a silent board says %q", got)
	}
}

// A BREAK reaches what ser2net is connected to: here one more that speaks telnet, since of a
// BREAK a pseudoterminal shows nothing.
func TestBreakThroughSer2net(t *testing.T) {
	t.Parallel()
	for accepts, breaks := range map[string][]string{
		"telnet,tcp":          {"\xff\xf3"},
		"telnet(rfc2217),tcp": {"\xff\xfa\x2c\x05\x05\xff\xf0", "\xff\xfa\x2c\x05\x06\xff\xf0"},
	} {
		t.Run(accepts, func(t *testing.T) {
			t.Parallel()
			beyond, to := terminalServer(t)
			server, target := newSer2net(t, accepts, "telnet(rfc2217),tcp,"+strings.Replace(to.Addr, ":", ",", 1))
			d := newDesk(t, t.TempDir())
			bob := sit(t, d.Of(mac), "bob", "bob 1")
			bob.Take()
			d.Connect(mac, target)
			server.start()
			c := accepted(t, beyond)
			if _, err := io.WriteString(c, agrees+"login: "); err != nil {
				t.Fatal(err)
			}
			wants(t, bob, "login: ") // behind what the two agree on
			if err := bob.Break(); err != nil {
				t.Fatal(err)
			}
			var came []byte
			for p := make([]byte, 1000); ; {
				n, err := c.Read(p)
				came = append(came, p[:n]...)
				rest, is := came, true
				for _, want := range breaks {
					_, rest, is = bytes.Cut(rest, []byte(want))
				}
				if is {
					break
				}
				if err != nil {
					t.Fatalf("%q came, %v; want %q", came, err, breaks)
				}
			}
		})
	}
}
