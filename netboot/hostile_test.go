package netboot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"walt/images/imagetest"
	"walt/netboot"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/state"
)

// lines is a log that tests count the lines of.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.String(), text)
}

// nonsense sends the server of files what is no call, and waits until it is told so.
func (f *fixture) nonsense(m netboot.Machine) {
	f.T.Helper()
	c, err := netboottest.From(m).Dial("tcp4", f.Ports.At(netboot.PortNFS))
	if err != nil {
		f.T.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("\x80\x00\x00\x04 no ")); err != nil {
		f.T.Fatal(err)
	}
	netboottest.Closed(f.T, c)
}

// Root on a machine has nothing of another one's, and does not fill the log with
// trying, nor with what its agent tells.
func TestHostileMachine(t *testing.T) {
	t.Parallel()
	log := new(lines)
	f := newFixture(t)
	f.Next.Log = slog.New(slog.NewTextHandler(log, nil))
	f.Start()
	_, token := f.Prepared(one)
	_, other := f.Prepared(two)
	i, _ := f.Ask(one, token)
	for range 50 {
		if _, status := f.Ask(one, other); status != http.StatusForbidden {
			t.Fatalf("another machine's instructions: status %d", status)
		}
		netboottest.Closed(t, f.AsAgent(one, instructions.Report{Token: other, Boot: i.Boot}))
		f.nonsense(one)
	}
	if log.count("from=127.0.0.2") != 1 || log.count("\n") != 1 {
		t.Errorf("the log says: %s", log)
	}
	for range 3 {
		f.nonsense(two)
	}
	if log.count("nfs: a connection is closed") != 1 || log.count("from=127.0.0.3") != 1 {
		t.Errorf("the log says: %s", log)
	}
	big := f.AsAgent(two, instructions.Report{})
	if _, err := big.Write(bytes.Repeat([]byte("x"), 65<<10)); err == nil { // the server may have closed it by then
		netboottest.Closed(t, big)
	}

	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	begun := time.Now()
	go func() { // what the server does not hear yet waits in the connection
		for range 29 {
			f.Report(c, netboottest.ReportOf(i, instructions.Mounts))
			f.Report(c, netboottest.ReportOf(i, instructions.Up))
		}
	}()
	for range 29 {
		f.Hears("one up at 127.0.0.2:22")
	}
	if took := time.Since(begun); took < 2*time.Second {
		t.Errorf("59 reports are heard in %v", took)
	}
	for _, odd := range []string{"\x1b[2Jroot", "root\n", "\u009b2J", "Root", strings.Repeat("x", 33), "-", "", "a-step"} {
		f.Report(c, netboottest.ReportOf(i, instructions.Step(odd))) // which is nothing
	}
	long := netboottest.ReportOf(i, instructions.Mounts)
	long.Failed = "\x1b[2Jfailed\u009b\n" + strings.Repeat("x", 60_000)
	f.Report(c, long)
	f.Hears("one failed: [2Jfailed " + strings.Repeat("x", 1000-len("[2Jfailed ")))
	known := regexp.MustCompile("^(one|two) (kernel|initramfs|mounting)$")
	if odd := slices.DeleteFunc(f.Steps(), known.MatchString); len(odd) > 0 {
		t.Errorf("the lab was told the steps %q", f.Steps())
	}
}

// broken is a store that cannot be read while it fails.
type broken struct {
	state.Store
	fails atomic.Bool
}

func (b *broken) View(ctx context.Context, f func(state.Reader) error) error {
	if b.fails.Load() {
		return errors.New("the disk is gone")
	}
	return b.Store.View(ctx, f)
}

// A machine that asks again and again for what the server cannot give does not fill the log.
func TestAsksInVain(t *testing.T) {
	t.Parallel()
	log := new(lines)
	f := newFixture(t)
	store := &broken{Store: f.Store}
	f.Next.Log, f.Next.Store = slog.New(slog.NewTextHandler(log, nil)), store
	f.Start()
	_, token := f.Prepared(one)
	store.fails.Store(true)
	for range 50 {
		if _, status := f.Ask(one, token); status != http.StatusServiceUnavailable {
			t.Fatalf("status %d", status)
		}
	}
	if log.count("the disk is gone") != 1 || log.count("\n") != 1 {
		t.Errorf("the log says: %s", log)
	}
	store.fails.Store(false)
	f.Ask(one, token)
}

// An agent that connects again and again is heard as often as another one: its
// connections do not wait in the server, not even when that ends.
func TestAgentThatConnectsAgainAndAgain(t *testing.T) {
	t.Parallel()
	var ends time.Time
	t.Cleanup(func() { // after the server's
		if took := time.Since(ends); took > 8*time.Second {
			t.Errorf("the server ends after %v", took)
		}
	})
	f := newFixture(t)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	for range 300 {
		f.AsAgent(one, netboottest.ReportOf(i, instructions.Mounts))
	}
	ends = time.Now()
}

// Who says that it sends something, and does not, is not waited for; nor is what is asked for in
// vain on the same connection behind something else.
func TestOddQuestions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, asks := range []string{
		"GET /nothing HTTP/1.1\r\nHost: server\r\nContent-Length: 100000\r\n\r\nx",
		"GET /nothing HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nx",
		"POST /nothing HTTP/1.1\r\nHost: server\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
		strings.Repeat("GET /nothing HTTP/1.1\r\nHost: server\r\n\r\n", 3),
		strings.Repeat("GET /kernel/of-another HTTP/1.1\r\nHost: server\r\n\r\n", 3),
	} {
		c, err := netboottest.From(one).Dial("tcp4", f.Ports.At(netboot.PortHTTP))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, asks); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) || bytes.Count(got, []byte("HTTP/1.1 4")) != 1 {
			t.Errorf("%.50q is answered with %q, %v", asks, got, err)
		}
	}
}

// short is a network on which agents are accepted only when there are files again.
type short struct{ *netboottest.Loopback }

func (s short) Listen(port uint16) (net.Listener, error) {
	l, err := s.Loopback.Listen(port)
	if port == netboot.PortAgent {
		return &shortListener{Listener: l}, err
	}
	return l, err
}

type shortListener struct {
	net.Listener
	accepts bool
}

func (l *shortListener) Accept() (net.Conn, error) {
	if !l.accepts {
		l.accepts = true
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// That there are too many files does not end what is served.
func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.Ports.At(netboot.PortAgent)
	f.Server = netboot.New(f.Next)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Server.Serve(ctx, short{&f.Ports}) }()
	imagetest.Until(t, "it serves", func() bool { return f.Ports.At(netboot.PortAgent) != before })
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	f.AsAgent(one, netboottest.ReportOf(i, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Who is nobody in particular does not fill the log either.
func TestComplaintsOfMany(t *testing.T) {
	t.Parallel()
	log := new(lines)
	f := newFixture(t)
	f.Next.Log = slog.New(slog.NewTextHandler(log, nil))
	f.Start()
	for i := range 5000 {
		f.Complain(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "asks for what is not there")
	}
	if n := log.count("asks for what is not there"); n != 1000 {
		t.Errorf("the log has %d lines", n)
	}
}
