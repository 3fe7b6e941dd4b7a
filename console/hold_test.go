package console

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"walt/fault"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"none":                                 "none",
		"tcp://rack-1:3001":                    "tcp://rack-1:3001",
		"tcp://192.0.2.7:1":                    "tcp://192.0.2.7:1",
		"tcp://[2001:db8::7]:65535":            "tcp://[2001:db8::7]:65535",
		"tcp://127.0.0.1:3001":                 "tcp://127.0.0.1:3001", // ser2net of the server
		"telnet://rack-1:7001":                 "telnet://rack-1:7001",
		"telnet://rack-1":                      "telnet://rack-1:23",
		"telnet://[2001:db8::7]":               "telnet://[2001:db8::7]:23",
		"telnet://[2001:db8::7]:7001":          "telnet://[2001:db8::7]:7001",
		"/dev/ttyUSB0":                         "/dev/ttyUSB0,115200",
		"/dev/serial/by-id/usb-FTDI-if00,9600": "/dev/serial/by-id/usb-FTDI-if00,9600",
		"/dev/serial/by-path/pci-0:0:1.0":      "/dev/serial/by-path/pci-0:0:1.0,115200",
	} {
		if got, err := ParseTarget(text); err != nil || got.String() != want {
			t.Errorf("%s is %q, %v; want %q", text, got, err, want)
		} else if again, err := ParseTarget(got.String()); err != nil || again != got {
			t.Errorf("%s is %+v when it is read again, %v; want %+v", got, again, err, got)
		}
	}
	for _, text := range []string{
		"", "None", "tcp://", "tcp://host", "tcp://:22", "tcp://host:0", "tcp://host:65536", "tcp://host:ssh", "tcp://u@host:22", "tcp://host:22/x", "udp://host:22",
		"telnet://", "telnet://:23", "telnet://host:", "telnet://host/", "telnet://2001:db8::7", "telnet://[2001:db8::7", "telnet://root@host", "telnet:/host", "rfc2217://host:23",
		"/etc/passwd", "/dev/../etc/passwd", "/dev//ttyS0", "/dev/", "ttyS0", "/dev/ttyS0,", "/dev/ttyS0,fast", "/dev/ttyS0,0", "/dev/ttyS0,115200,8n1", "/dev/tty S0",
		"/dev/tty\x1bS0", "tcp://h\nost:22", "/dev/" + strings.Repeat("x", 300), "tcp://rack-ü:1",
	} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
	for _, host := range []string{"0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "[::]", "[fe80::1]", "[ff02::1]", "[::ffff:169.254.169.254]"} {
		for _, scheme := range []string{rawScheme, telnetScheme} {
			if got, err := ParseTarget(scheme + host + ":80"); fault.As(err) == nil || got != (Target{}) {
				t.Errorf("%s%s: %+v, %v", scheme, host, got, err)
			}
		}
	}
}

// terminalServer is a TCP server on loopback, which each test scripts.
func terminalServer(t *testing.T) (*net.TCPListener, Target) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener), Target{Addr: l.Addr().String()}
}

// accepted is the next connection.
func accepted(t *testing.T, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// until waits for something to be so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// types writes to the node once the line leads there.
func types(t *testing.T, s *Seat, text string) {
	t.Helper()
	until(t, "what is typed is taken", func() bool {
		_, err := s.Write([]byte(text))
		return err == nil
	})
}

// receives reads just that text.
func receives(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("%q arrived, %v; want %q", got, err, want)
	}
}

// Bytes of all kinds go both ways, and a connection that ends is made anew, for those who sit
// there, too.
func TestTerminalServer(t *testing.T) {
	t.Parallel()
	server, target := terminalServer(t)
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	bob := sit(t, l, "bob", "bob 1")
	bob.Take()
	d.Connect(mac, target)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for range 3 {
		c := accepted(t, server)
		if _, err := c.Write(all); err != nil {
			t.Fatal(err)
		}
		wants(t, bob, string(all))
		types(t, bob, string(all))
		receives(t, c, string(all))
		c.Close()
	}
	c := accepted(t, server)
	d.Connect(mac, target) // which it is
	d.Connect(mac, Target{})
	if _, err := c.Read(all); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
	if is, why := l.Plugged(); is || why != "nobody says where it is any more" {
		t.Errorf("it is connected: %v, %q", is, why)
	}
}

// A line tells why it is not connected.
func TestNotConnected(t *testing.T) {
	t.Parallel()
	server, target := terminalServer(t)
	server.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, t.TempDir())
	d.SetServices([]string{"http://127.0.0.1:5000"})
	for want, target := range map[string]Target{
		"connection refused":                            target,
		"that is a registry, or docker, of this server": {Addr: "127.0.0.1:5000"},
		"there is no such device on the server":         {Device: "/dev/no-such-line", Speed: 9600},
		"it is no serial line":                          {Device: file, Speed: 9600},
		"its name is not known":                         {Addr: "no-such-host.invalid:1"},
	} {
		d.Connect(mac, target)
		until(t, want, func() bool {
			is, why := d.Of(mac).Plugged()
			return !is && why == want
		})
	}
	w, err := (Target{Addr: "[::ffff:169.254.0.1]:1"}).open(t.Context(), d.refuse)
	if err == nil || words(err) != "a link-local address" {
		t.Errorf("%v, %v", w, err)
	}
}

// A terminal server that hangs holds up who types for a moment, and nobody who reads.
func TestHungTerminalServer(t *testing.T) {
	t.Parallel()
	server, target := terminalServer(t)
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	bob, carol := sit(t, l, "bob", "bob 1"), sit(t, l, "carol", "bob 1")
	d.Connect(mac, target)
	c := accepted(t, server)
	if _, err := c.Write([]byte("login: ")); err != nil {
		t.Fatal(err)
	}
	wants(t, bob, "login: ")
	bob.Take()
	for much := bytes.Repeat([]byte("x"), 1<<20); ; { // until all that lies between is full
		_, err := bob.Write(much)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	wants(t, carol, "login: still here")
	if err := bob.Break(); !errors.Is(err, ErrNoBreak) {
		t.Errorf("a BREAK over a raw connection: %v", err)
	}
}

// A terminal server that hangs up at once, each time, is told of once.
func TestHangsUpAtOnce(t *testing.T) {
	t.Parallel()
	server, target := terminalServer(t)
	var log bytes.Buffer
	d := newDesk(t, t.TempDir())
	d.Log = slog.New(slog.NewTextHandler(&log, nil))
	d.steady = time.Hour
	d.Connect(mac, target)
	for range 6 {
		accepted(t, server).Close()
	}
	d.Close()
	if lost, again := strings.Count(log.String(), "is not connected"), strings.Count(log.String(), "connected again"); lost != 1 || again != 1 {
		t.Errorf("it is told %d times that it is gone, and %d that it is back: %s", lost, again, log.String())
	}
}

// A device of the server is opened such that it changes no byte.
func TestDevice(t *testing.T) {
	t.Parallel()
	board, device, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer board.Close()
	defer device.Close()
	target, err := ParseTarget(device.Name() + ",9600")
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	bob := sit(t, l, "bob", "bob 1")
	bob.Take()
	d.Connect(mac, target)
	until(t, "it is open", func() bool {
		is, _ := l.Plugged()
		return is
	})
	const all = "\x00\x03\x04\r\n\x11\x13\x1a\x7f\xff login: "
	if _, err := io.WriteString(board, all); err != nil {
		t.Fatal(err)
	}
	wants(t, bob, all)
	types(t, bob, all)
	receives(t, board, all)
	if err := bob.Break(); err != nil { // of which a pseudoterminal shows nothing
		t.Error(err)
	}
	d.Connect(mac, Target{})
	if _, err := bob.Write([]byte("x")); !errors.Is(err, ErrUnplugged) {
		t.Error(err)
	}
}

// A device that is pulled out, and plugged in as another one behind the same link in
// /dev/serial/by-id, is found again.
func TestDeviceReturns(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "usb-FTDI-if00")
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	bob := sit(t, l, "bob", "bob 1")
	bob.Take()
	d.Connect(mac, Target{Device: link, Speed: 9600})
	for range 2 {
		until(t, "it is told that there is none", func() bool {
			is, why := l.Plugged()
			return !is && why == "there is no such device on the server"
		})
		board, device, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(device.Name(), link); err != nil {
			t.Fatal(err)
		}
		types(t, bob, "hello")
		receives(t, board, "hello")
		if err := errors.Join(os.Remove(link), board.Close(), device.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// Close ends whatever a connection is about to do.
func TestCloseWhileItConnects(t *testing.T) {
	t.Parallel()
	server, target := terminalServer(t)
	d := newDesk(t, t.TempDir())
	d.Connect(mac, target)
	c := accepted(t, server)
	d.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	d.Connect(mac, target) // too late
	if len(d.links) != 0 {
		t.Error("it is connected again")
	}
}
