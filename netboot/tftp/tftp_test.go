package tftp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walt/netboot/tftp"
)

// files are those of a test, for clients on 127.0.0.1.
type files map[string][]byte

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

func (f files) Open(client netip.Addr, name string) (tftp.File, error) {
	b, here := f[name]
	switch {
	case client != netip.MustParseAddr("127.0.0.1"):
		return tftp.File{}, errors.New("another client")
	case name == "later":
		return tftp.File{}, tftp.ErrLater
	case name == "secret":
		return tftp.File{}, errors.New("not for anybody")
	case name == "grows":
		return tftp.File{ReaderAt: &growing{}, Closer: content{}, Size: tftp.Unknown, Pause: time.Millisecond, Block: 8}, nil
	case !here:
		return tftp.File{}, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	c := content{bytes.NewReader(b)}
	file := tftp.File{ReaderAt: c, Closer: c, Size: int64(len(b))}
	if name == "counted" {
		file.Blocks = 2
	}
	return file, nil
}

// growing is a file of 19 bytes, each part of which is there when it is asked for twice.
type growing struct{ asked bool }

func (g *growing) ReadAt(p []byte, at int64) (int, error) {
	if g.asked = !g.asked; g.asked {
		return 0, tftp.ErrLater
	}
	return strings.NewReader("what is not yet all").ReadAt(p, at)
}

// serve serves files on loopback until the test ends, and returns where. It sends nothing
// twice because a test takes long.
func serve(t testing.TB, f tftp.Files) string {
	t.Helper()
	s := &tftp.Server{Files: f}
	s.Waits(time.Hour)
	return run(t, s)
}

// run is serve with a server.
func run(t testing.TB, s *tftp.Server) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Log = slog.New(slog.DiscardHandler)
	s.Dial = func(to netip.AddrPort) (net.Conn, error) {
		return net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, net.UDPAddrFromAddrPort(to))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return conn.LocalAddr().String()
}

// random is content of some length.
func random(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// client is a scripted one.
type client struct {
	t    testing.TB
	conn net.PacketConn
	peer net.Addr
}

func newClient(t testing.TB, server string) *client {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	to, err := net.ResolveUDPAddr("udp4", server)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t, conn, to}
}

// says sends a packet to whoever answered last.
func (c *client) says(packet string) {
	c.t.Helper()
	if _, err := c.conn.WriteTo([]byte(packet), c.peer); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) confirms(n uint16) {
	c.says("\x00\x04" + string(binary.BigEndian.AppendUint16(nil, n)))
}

// hears returns the next packet.
func (c *client) hears() string {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, 65536)
	n, from, err := c.conn.ReadFrom(b)
	if err != nil {
		c.t.Fatal(err)
	}
	c.peer = from
	return string(b[:n])
}

func (c *client) wants(want string) {
	c.t.Helper()
	if got := c.hears(); got != want {
		c.t.Fatalf("it hears %q, want %q", got, want)
	}
}

func request(fields ...string) string { return "\x00\x01" + strings.Join(fields, "\x00") + "\x00" }

func data(n uint16, b []byte) string {
	return "\x00\x03" + string(binary.BigEndian.AppendUint16(nil, n)) + string(b)
}

// What firmware and its like ask for, and what they are told, byte for byte.
func TestConversations(t *testing.T) {
	t.Parallel()
	file := random(1200)
	server := serve(t, files{"f": file, "full": file[:1024], "empty": nil})
	for what, f := range map[string]func(*client){
		"as RFC 1350 has it": func(c *client) {
			c.says(request("f", "octet"))
			c.wants(data(1, file[:512]))
			c.confirms(1)
			c.wants(data(2, file[512:1024]))
			c.confirms(1) // once more: nothing is sent because of that
			c.confirms(2)
			c.wants(data(3, file[1024:]))
			c.confirms(3)
		},
		"whole blocks have an empty one behind them": func(c *client) {
			c.says(request("full", "OCTET"))
			for n := range uint16(2) {
				c.wants(data(n+1, file[int(n)*512:int(n+1)*512]))
				c.confirms(n + 1)
			}
			c.wants(data(3, nil))
			c.confirms(3)
		},
		"an empty file": func(c *client) {
			c.says(request("empty", "octet", "tsize", "0"))
			c.wants("\x00\x06tsize\x000\x00")
			c.confirms(0)
			c.wants(data(1, nil))
			c.confirms(1)
		},
		"UEFI asks for the size, and gives up": func(c *client) {
			c.says(request("f", "octet", "tsize", "0", "blksize", "1468", "windowsize", "4"))
			c.wants("\x00\x06tsize\x001200\x00blksize\x001468\x00windowsize\x004\x00")
			c.says("\x00\x05\x00\x08aborted\x00")
			c.peer = c.at(server)
			c.says(request("f", "octet", "blksize", "1468"))
			c.wants("\x00\x06blksize\x001468\x00")
			c.confirms(0)
			c.wants(data(1, file))
			c.confirms(1)
		},
		"it agrees to no more than it can": func(c *client) {
			c.says(request("f", "octet", "blksize", "65464", "windowsize", "1000", "timeout", "3", "multicast", "", "utimeout", "1"))
			c.wants("\x00\x06blksize\x001468\x00windowsize\x0064\x00timeout\x003\x00")
			c.confirms(0)
			c.wants(data(1, file))
			c.confirms(1)
		},
		"an option twice": func(c *client) {
			c.says(request("f", "octet", "blksize", "1468", "blksize", "8"))
			c.wants("\x00\x06blksize\x008\x00")
			c.confirms(0)
			c.wants(data(1, file[:8]))
		},
		"nonsense in options is left out": func(c *client) {
			c.says(request("f", "octet", "blksize", "7", "windowsize", "0", "timeout", "11", "tsize", "-1", "blksize"))
			c.wants(data(1, file[:512]))
		},
		"a window": func(c *client) {
			c.says(request("f", "octet", "blksize", "300", "windowsize", "3"))
			c.wants("\x00\x06blksize\x00300\x00windowsize\x003\x00")
			c.confirms(0)
			for _, n := range []int{1, 2, 3} {
				c.wants(data(uint16(n), file[(n-1)*300:n*300]))
			}
			c.confirms(1) // it lacks the second one
			for _, n := range []int{2, 3, 4} {
				c.wants(data(uint16(n), file[(n-1)*300:n*300]))
			}
			c.confirms(4)
			c.wants(data(5, nil))
			c.confirms(5)
		},
		"a file that grows": func(c *client) {
			c.says(request("grows", "octet", "tsize", "0", "blksize", "1468", "windowsize", "4"))
			c.wants("\x00\x06blksize\x008\x00windowsize\x004\x00")
			c.confirms(0)
			c.wants(data(1, []byte("what is ")))
			c.wants(data(2, []byte("not yet ")))
			c.wants(data(3, []byte("all")))
			c.confirms(3)
		},
		"a file that grows, in blocks as usual": func(c *client) {
			c.says(request("grows", "octet"))
			c.wants(data(1, []byte("what is not yet all")))
			c.confirms(1)
		},
		"no such file": func(c *client) { c.says(request("g", "octet")); c.wants("\x00\x05\x00\x01there is no such file\x00") },
		"one of another": func(c *client) {
			c.says(request("secret", "octet"))
			c.wants("\x00\x05\x00\x02this file is not for you\x00")
		},
		"text": func(c *client) {
			c.says(request("f", "netascii"))
			c.wants("\x00\x05\x00\x04files are sent in the mode octet alone\x00")
		},
		"writing": func(c *client) {
			c.says("\x00\x02f\x00octet\x00")
			c.wants("\x00\x05\x00\x02files can only be read\x00")
		},
		"no mode": func(c *client) { c.says("\x00\x01f\x00"); c.wants("\x00\x05\x00\x04this is no request for a file\x00") },
		"no end": func(c *client) {
			c.says("\x00\x01f\x00octet")
			c.wants("\x00\x05\x00\x04this is no request for a file\x00")
		},
		"no name": func(c *client) {
			c.says(request("", "octet"))
			c.wants("\x00\x05\x00\x04this is no request for a file\x00")
		},
		"nothing, and noise": func(c *client) { c.says(""); c.says("\x00"); c.says("\x00\x04\x00\x01"); c.says("\xff\xff\xff") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f(newClient(t, server))
		})
	}
}

func TestWhatIsLostIsSentAgain(t *testing.T) {
	t.Parallel()
	file := random(1200)
	c := newClient(t, run(t, &tftp.Server{Files: files{"f": file}}))
	c.says(request("f", "octet"))
	c.wants(data(1, file[:512]))
	c.wants(data(1, file[:512]))
	c.confirms(1)
	for got := ""; got != data(2, file[512:1024]); { // the first one may come once more, when this takes long
		if got = c.hears(); !strings.HasPrefix(got, "\x00\x03") {
			t.Fatalf("it hears %q", got)
		}
	}
}

func (c *client) at(server string) net.Addr {
	to, err := net.ResolveUDPAddr("udp4", server)
	if err != nil {
		c.t.Fatal(err)
	}
	return to
}

// The numbers of blocks begin anew behind 65535.
func TestManyBlocks(t *testing.T) {
	t.Parallel()
	file := random(70_000 * 8)
	c := newClient(t, serve(t, files{"f": file}))
	c.says(request("f", "octet", "blksize", "8", "windowsize", "64"))
	c.wants("\x00\x06blksize\x008\x00windowsize\x0064\x00")
	c.confirms(0)
	var got []byte
	for n := 1; ; n++ {
		p := c.hears()
		if want := data(uint16(n), nil); !strings.HasPrefix(p, want) {
			t.Fatalf("block %d is %q", n, p)
		}
		got = append(got, p[4:]...)
		if n%64 == 0 || len(p) < 4+8 {
			c.confirms(uint16(n))
		}
		if len(p) < 4+8 {
			break
		}
	}
	if !bytes.Equal(got, file) {
		t.Errorf("%d bytes, not the %d of the file", len(got), len(file))
	}
}

// Who begins file after file and ends none of them gets the next one all the same: that ends
// of which nothing was heard for the longest time. One that goes on does so beside them.
func TestFilesThatNobodyEnds(t *testing.T) {
	t.Parallel()
	file := random(100 * 512)
	all := &counted{files: files{"f": file}}
	server := serve(t, all)
	slow := newClient(t, server)
	slow.says(request("f", "octet", "timeout", "10"))
	slow.wants("\x00\x06timeout\x0010\x00")
	for n := range uint16(100) {
		slow.confirms(n)
		slow.wants(data(n+1, file[int(n)*512:][:512]))
		c := newClient(t, server)
		c.says(request("f", "octet", "timeout", "10"))
		c.wants("\x00\x06timeout\x0010\x00")
		c.confirms(0)
		c.wants(data(1, file[:512]))
	}
	slow.confirms(100)
	slow.wants(data(101, nil))
	for end := time.Now().Add(time.Minute); all.open.Load() > 8; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d files are open", all.open.Load())
		}
	}
}

// counted are files of which is known how many are open.
type counted struct {
	files
	open atomic.Int32
}

func (c *counted) Open(client netip.Addr, name string) (tftp.File, error) {
	f, err := c.files.Open(client, name)
	if err == nil {
		c.open.Add(1)
		f.Closer = closing(func() { c.open.Add(-1) })
	}
	return f, err
}

// closing is called when a file is closed.
type closing func()

func (c closing) Close() error { c(); return nil }

// Clients that others have written get what there is.
func TestRealClients(t *testing.T) {
	t.Parallel()
	server := run(t, &tftp.Server{Files: files{"f": random(300_000), "small": random(100)}})
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	for what, args := range map[string][]string{
		"curl":            {"curl", "-sS", "-o", "OUT", "tftp://" + server + "/NAME"},
		"curl, no option": {"curl", "-sS", "--tftp-no-options", "-o", "OUT", "tftp://" + server + "/NAME"},
		"curl, large":     {"curl", "-sS", "--tftp-blksize", "1400", "-o", "OUT", "tftp://" + server + "/NAME"},
		"tftp":            {"tftp", "-4", "-m", "binary", host, port, "-c", "get", "NAME", "OUT"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(args[0]); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			for name, size := range map[string]int{"f": 300_000, "small": 100} {
				out := filepath.Join(t.TempDir(), "out")
				line := strings.Split(strings.NewReplacer("NAME", name, "OUT", out).Replace(strings.Join(args, "\n")), "\n")
				if said, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", line, err, said)
				}
				if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, random(size)) {
					t.Errorf("%s: %d bytes, %v", name, len(b), err)
				}
			}
		})
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{request("f", "octet"), request("f", "octet", "blksize", "1468", "tsize", "0"), "\x00\x02f\x00octet\x00", "\x00\x01", "\x00\x01\x00\x00\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) { tftp.CheckRequest(t, b) })
}

// Who cannot count the blocks of a file gets none of it, and one with larger blocks does.
// Who asks for what is not there yet hears nothing, and asks again.
func TestCountedAndLater(t *testing.T) {
	server := serve(t, files{"counted": random(1024), "other": []byte("x")})
	c := newClient(t, server)
	c.says("\x00\x01counted\x00octet\x00")
	c.wants("\x00\x05\x00\x02this file of 0 MiB is too large for your firmware\x00")
	c = newClient(t, server)
	c.says("\x00\x01counted\x00octet\x00blksize\x001024\x00")
	c.wants("\x00\x06blksize\x001024\x00")
	c = newClient(t, server)
	c.says("\x00\x01later\x00octet\x00")
	c.says("\x00\x01other\x00octet\x00")
	c.wants("\x00\x03\x00\x01x")
}
