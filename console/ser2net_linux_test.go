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

// newSer2net returns the one for a serial device, and the target that leads to it.
func newSer2net(t *testing.T, device string) (*ser2net, Target) {
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
	lines := fmt.Sprintf("connection: &board\n  accepter: tcp,%v,%d\n  connector: serialdev,%s,115200n81,local\n", at.IP, at.Port, device)
	if err := os.WriteFile(s.config, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, Target{Addr: at.String()}
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
// is typed goes there, also after it was started anew, and after a flood.
func TestSer2net(t *testing.T) {
	t.Parallel()
	board, device, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer board.Close()
	defer device.Close()
	if err := makeRaw(int(device.Fd()), usualSpeed); err != nil { // what it says before anybody has it open is not lost
		t.Fatal(err)
	}
	server, target := newSer2net(t, device.Name())
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
