package intake

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walt/auth"
	"walt/ethernet"
	"walt/nodelogs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSyslog(t *testing.T) {
	t.Parallel()
	p := newParser()
	for message, want := range map[string][2]string{
		// util-linux's logger, by UDP and TCP
		`<13>1 2026-11-27T19:00:00.123456+00:00 rpi-3 exp1 - - [timeQuality tzKnown="1" isSynced="0"] temperature 21`: {"exp1", "temperature 21"},
		"<13>Nov 27 19:00:00 rpi-3 exp1: temperature 21":                                                              {"exp1", "temperature 21"},
		"<13>Nov  7 19:00:00 rpi-3 exp1[12]: temperature: 21":                                                         {"exp1", "temperature: 21"},
		// busybox, which tells no host
		"<30>Nov 27 19:00:00 systemd[1]: Started A.\n": {"systemd", "Started A."},
		"<13>Nov 27 19:00:00 root: hello":              {"root", "hello"},
		// rsyslog and journald with long times
		"<13>2026-11-27T19:00:00Z rpi-3 exp1: hello":                         {"exp1", "hello"},
		"<13>2026-11-27T23:05:45.614547+00:00 rpi-3 exp1[12]: hello":         {"exp1", "hello"},
		"<13>2026-11-27T23:05:45.614547+00:00 rpi-3 hello":                   {"syslog", "hello"},
		"<13>1 2026-11-27T23:05:45.614547+00:00 rpi-3 exp1 12540 - -  hello": {"exp1", "hello"},
		"<13>1 - - - - - - hello":                                            {"syslog", "hello"},
		"<13>1 - - app - - -":                                                {"app", ""},
		"<13>1 2026-11-27T19:00:00Z h app 1 - - \ufeffhello":                 {"app", "hello"},
		// microcontrollers, shells
		"<13>exp1: hello":                     {"exp1", "hello"},
		"<13>hello":                           {"syslog", "hello"},
		"hello":                               {"syslog", "hello"},
		"":                                    {"syslog", ""},
		"<13>":                                {"syslog", ""},
		"<999>1 x":                            {"syslog", "1 x"},
		"<13>1 bad":                           {"syslog", "1 bad"},
		"<13>Nov 27 19:00:00 rpi-3 a b: text": {"syslog", "a b: text"},
		"http://a.example/ is a text":         {"syslog", "http://a.example/ is a text"},
		"<4>Nov 27 19:00:00 h kernel: [ 1.0] usb 1-1: new": {"kernel", "[ 1.0] usb 1-1: new"},
	} {
		if stream, text := p.syslog([]byte(message)); stream != want[0] || text != want[1] {
			t.Errorf("%q: %q, %q, want %q", message, stream, text, want)
		}
	}
}

func FuzzSyslog(f *testing.F) {
	f.Add([]byte("<13>Nov 27 19:00:00 rpi-3 exp1[1]: temperature 21"))
	f.Add([]byte(`<13>1 2026-11-27T19:00:00Z h app 1 id [a b="c"] text`))
	p := newParser()
	f.Fuzz(func(t *testing.T, b []byte) {
		stream, text := p.syslog(b)
		if stream == "" || len(stream)+len(text) > len(b)+len(syslogStream) {
			t.Errorf("%q: %q, %q", b, stream, text)
		}
	})
}

func TestFrames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*most)
	for stream, want := range map[string][]string{
		"<1>a\n<2>b\n<3>c":                 {"<1>a\n", "<2>b\n", "<3>c"},
		"4 <1>a6 <2>b\nc<3>d\n":            {"<1>a", "<2>b\nc", "<3>d\n"},
		long + "\nnext\n":                  {long[:most], "next\n"},
		"32768 <" + long[1:] + "4 <1>a":    {"<" + long[1:most], "<1>a"},
		"5 <1>":                            nil,
		"5":                                {"5"},
		"99999999 <1>a\n":                  {"99999999 <1>a\n"},
		"2026-11-27 up\n21 degrees\n4 \n0": {"2026-11-27 up\n", "21 degrees\n", "4 \n", "0"}, // no lengths
		"":                                 nil,
	} {
		r := bufio.NewReaderSize(strings.NewReader(stream), most)
		var got []string
		for {
			b, err := frame(r)
			if err != nil {
				break
			}
			got = append(got, string(b))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%.20q: %.40q, want %.40q", stream, got, want)
		}
	}
}

// here is a lab with one node, at the loopback address.
type here struct {
	mu       sync.Mutex
	owner    auth.Name // "" for bob
	gone     bool
	troubles map[string]string
	told     int // how often of troubles
}

const node = ethernet.MAC("52:54:00:00:00:01")

func (h *here) Speaker(_ context.Context, from netip.Addr) (ethernet.MAC, auth.Name, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone || from != netip.MustParseAddr("127.0.0.1") {
		return "", "", false
	}
	return node, cmp.Or(h.owner, "bob"), true
}

func (h *here) passTo(user auth.Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.owner = user
}

func (h *here) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
}

func (h *here) Troubled(_ context.Context, key, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.troubles[key] = text
	h.told++
}

func (h *here) Calmed(string) {}

func (h *here) trouble(key string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.troubles[key]
}

// serve serves sockets on loopback, and returns where they are and the lines.
func serve(t testing.TB, lab Lab) (Sockets, *nodelogs.Store) {
	t.Helper()
	on := Sockets{}
	var err error
	if on.TCP, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []*net.PacketConn{&on.UDP, &on.Netconsole} {
		if *conn, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	store := nodelogs.Open(t.TempDir(), slog.New(slog.DiscardHandler), time.Now)
	store.SetLimits(nodelogs.Limits{Size: 1 << 30, Each: 1 << 30})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	server := New(lab, store, slog.New(slog.DiscardHandler))
	server.each = 10_000_000 // what is to be seen is not that limit
	running.Go(func() {
		if err := server.Serve(ctx, on); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	return on, store
}

// dial connects to a socket of the server, until the test ends.
func dial(t testing.TB, to net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wait returns the first n lines of the store as STREAM TEXT, in alphabetical order.
func wait(t testing.TB, s *nodelogs.Store, n int) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	q := nodelogs.Query{Nodes: func(ethernet.MAC) bool { return true }, Wanted: func(nodelogs.Line) bool { return true }}
	err := s.Follow(ctx, q, func(lines []nodelogs.Line, lost bool) error {
		for _, l := range lines {
			if l.Node != node || l.Owner != "bob" {
				t.Errorf("%v is of somebody else", l)
			}
			got = append(got, l.Stream+" "+l.Text)
		}
		if len(got) >= n || lost {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func TestServe(t *testing.T) {
	t.Parallel()
	on, s := serve(t, &here{troubles: map[string]string{}})
	fmt.Fprint(dial(t, on.UDP.LocalAddr()), "<13>exp1: by UDP\nand more")
	tcp := dial(t, on.TCP.Addr())
	fmt.Fprint(tcp, "<13>exp1: by TCP\n11 <13>a: b\nc\n<13>last")
	tcp.Close()
	fmt.Fprint(dial(t, on.Netconsole.LocalAddr()), "6,416,1758426,-;panic\n SUBSYSTEM=net\n")
	want := []string{"a b", "a c", "exp1 and more", "exp1 by TCP", "exp1 by UDP", "kernel panic", "syslog last"}
	if got := wait(t, s, len(want)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The logger that every Linux has is understood in all forms that it can write.
func TestLogger(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("logger"); err != nil {
		t.Skip(err)
	}
	on, s := serve(t, &here{troubles: map[string]string{}})
	var want []string
	for _, way := range []string{"--udp", "--tcp", "--tcp --octet-count"} {
		for _, form := range []string{"--rfc3164", "--rfc5424"} {
			to := on.TCP.Addr().(*net.TCPAddr).Port
			if way == "--udp" {
				to = on.UDP.LocalAddr().(*net.UDPAddr).Port
			}
			args := append(strings.Fields(way), form, "-n", "127.0.0.1", "-P", fmt.Sprint(to), "-i", "-t", "exp1", "21 °C by "+way+" "+form)
			if out, err := exec.Command("logger", args...).CombinedOutput(); err != nil {
				t.Fatalf("%q: %v: %s", args, err, out)
			}
			want = append(want, "exp1 "+"21 °C by "+way+" "+form)
		}
	}
	slices.Sort(want)
	if got := wait(t, s, len(want)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What comes from an address that no node has is dropped, which the lab is told, also when
// it was a node's before.
func TestStrangers(t *testing.T) {
	t.Parallel()
	lab := &here{troubles: map[string]string{}}
	on, s := serve(t, lab)
	tcp := dial(t, on.TCP.Addr())
	fmt.Fprint(tcp, "<13>a: b\n")
	wait(t, s, 1)
	lab.leave()
	fmt.Fprint(tcp, "<13>a: c\n")
	if _, err := tcp.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	fmt.Fprint(dial(t, on.UDP.LocalAddr()), "<13>a: d")
	for end := time.Now().Add(time.Minute); lab.trouble(strangersKey) == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody was told")
		}
	}
	if got := lab.trouble(strangersKey); !strings.HasPrefix(got, "lines from addresses that no node has are dropped, the first from 127.0.0.1 (") {
		t.Error(got)
	}
	if got := wait(t, s, 1); len(got) != 1 {
		t.Errorf("a stranger was heard: %q", got)
	}
}

// What a node that changes hands said before is not the next owner's, though it was still to
// be read.
func TestHandOver(t *testing.T) {
	t.Parallel()
	lab := &here{troubles: map[string]string{}}
	on, s := serve(t, lab)
	tcp := dial(t, on.TCP.Addr())
	fmt.Fprint(tcp, "<13>a: b\n")
	wait(t, s, 1)
	lab.passTo("carol")
	fmt.Fprint(tcp, "<13>a: secret\n")
	if _, err := tcp.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	if got := wait(t, s, 1); len(got) != 1 {
		t.Errorf("what was said before is carol's: %q", got)
	}
}

// Of what goes on being wrong the lab is told at once, and whenever it was so ten times as often.
func TestTroubles(t *testing.T) {
	t.Parallel()
	lab := &here{troubles: map[string]string{}}
	s := New(lab, &counting{}, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		n    uint64
		want string
		told int
	}{{0, "", 0}, {2, "lost (2 so far)", 1}, {0, "lost (2 so far)", 1}, {17, "lost (2 so far)", 1}, {1, "lost (20 so far)", 2}, {100, "lost (20 so far)", 2}} {
		s.trouble("key", "lost", c.n)
		s.tellTroubles(t.Context())
		if got := lab.trouble("key"); got != c.want || lab.told != c.told {
			t.Errorf("after %d more: %q, told %d times", c.n, got, lab.told)
		}
	}
}

// Messages of a kernel that did not come are counted, in a line.
func TestMissing(t *testing.T) {
	t.Parallel()
	store := &counting{}
	s := New(&here{troubles: map[string]string{}}, store, slog.New(slog.DiscardHandler))
	for _, number := range []int{7, 10, 12} {
		s.packet(t.Context(), netip.MustParseAddr("127.0.0.1"), fmt.Appendf(nil, "6,%d,1000,-;text\n", number), s.netconsole)
	}
	s.tellLost()
	s.tellLost()
	if want := "3 messages of its kernel are not here: lost, or below the level that its consoles show"; store.lines != 4 || store.last != want {
		t.Errorf("%d lines, and %q at the end", store.lines, store.last)
	}
}

// A node that says too much by UDP loses lines, and there is a line that says how many; by
// TCP it is read as fast as it may speak.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	lab := &here{troubles: map[string]string{}}
	store := &counting{}
	s := New(lab, store, slog.New(slog.DiscardHandler))
	s.each = 5
	const said = 10_000 // more than may be said meanwhile, however long that takes
	s.packet(t.Context(), netip.MustParseAddr("127.0.0.1"), nil, func(*source, []byte) (string, []string) {
		return "a", make([]string, said)
	})
	kept := store.lines
	s.tellLost()
	if kept < 10 || kept == said || store.last != fmt.Sprintf("%d lines were lost here: a node may say 5 a second", said-kept) {
		t.Errorf("of %d lines %d were kept; then %q", said, kept, store.last)
	}
}

// counting counts lines.
type counting struct {
	lines int
	last  string
}

func (c *counting) Add(_ ethernet.MAC, _ auth.Name, _, text string) bool {
	c.lines++
	c.last = text
	return true
}

func (c *counting) Note(node ethernet.MAC, owner auth.Name, text string) bool {
	return c.Add(node, owner, "", text)
}

func (c *counting) Room(context.Context) error { return nil }

// BenchmarkSyslog takes lines of a node from a socket to the files of the store, and tells
// what processor time that takes, with what sends them and reads the files: of 10,000 lines
// a second each microsecond is a hundredth of a processor.
func BenchmarkSyslog(b *testing.B) {
	const line = "<13>Nov 27 19:00:00 rpi-3 exp1[12]: temperature 21.5 humidity 40 and a little more\n"
	for _, network := range []string{"tcp", "udp"} {
		b.Run(network, func(b *testing.B) {
			on, s := serve(b, &here{troubles: map[string]string{}})
			to := on.TCP.Addr()
			if network == "udp" {
				to = on.UDP.LocalAddr()
			}
			conn := dial(b, to)
			began, before := time.Now(), processor(b)
			lines := 0
			for ; b.Loop(); lines++ {
				if _, err := conn.Write([]byte(line)); err != nil {
					b.Fatal(err)
				}
				if network == "udp" && lines%100 == 0 { // no faster than it is read
					time.Sleep(10*time.Millisecond - time.Since(began)%(10*time.Millisecond))
				}
			}
			kept := len(wait(b, s, lines))
			b.ReportMetric(float64((processor(b)-before).Nanoseconds())/float64(lines), "cpu-ns/line")
			b.ReportMetric(float64(lines-kept)/float64(lines)*100, "%lost")
		})
	}
}

// processor is how much time of processors this process has had.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
