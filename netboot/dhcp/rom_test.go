package dhcp

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// fromROM is what the ROM of a Raspberry Pi 3 sends, to the byte, by a board with a MAC
// address, in hexadecimal. All of these boards have the same transaction number.
func fromROM(mac string) string {
	return "01010600" + "26f30339" + "00000000" + strings.Repeat("00000000", 4) + mac + strings.Repeat("00", 10+64+128) +
		"63825363" + "350101" + "370c2b3c43808182838485868742" + "5d020000" + "5e03010201" +
		"611100" + strings.Repeat("44", 16) + "3c20" + hex.EncodeToString([]byte("PXEClient:Arch:00000:UNDI:002001")) + "ff"
}

// everyROM knows all boards, by the end of their MAC addresses.
type everyROM struct{ delay time.Duration }

func (e everyROM) Host(_ context.Context, c Client) (Host, bool) {
	h := host
	hw, err := net.ParseMAC(string(c.MAC))
	if err != nil || c.Class != "PXEClient:Arch:00000:UNDI:002001" || string(c.GUID) != strings.Repeat("D", 16) || !c.Discovers {
		return h, false
	}
	h.IP = netip.AddrFrom4([4]byte{10, 0, 0, hw[5]})
	h.Menu, h.Delay = "Raspberry Pi Boot", e.delay
	return h, true
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the ROM of a Raspberry Pi is told, to the byte: it goes on only when it finds option
// 43 as it knows it, and its own GUID.
func TestAnswerToROM(t *testing.T) {
	b, to := (&Server{Hosts: everyROM{}}).Answer(t.Context(), unhex(t, fromROM("b827eb000007")))
	want := "02010600" + "26f30339" + "00000000" + "00000000" + "0a000007" + "0a000001" + "00000000" + "b827eb000007" + strings.Repeat("00", 10+64+128) +
		"63825363" + "0104fffff000" + "03040a000001" + "06040a000001" + "0c03766d31" +
		"2b20" + "060103" + "0a0400505845" + "09140000" + "11" + hex.EncodeToString([]byte("Raspberry Pi Boot")) + "ff" +
		"330400015180" + "350102" + "36040a000001" + "3c09" + hex.EncodeToString([]byte("PXEClient")) + "611100" + strings.Repeat("44", 16) + "ff"
	if got := strings.TrimRight(hex.EncodeToString(b), "0"); got != want || to.String() != "10.0.0.7:68" {
		t.Errorf("to %s:\n%s, want\n%s", to, got, want)
	}
	loud := unhex(t, fromROM("b827eb000007"))
	loud[10] = 0x80
	if _, to := (&Server{Hosts: everyROM{}}).Answer(t.Context(), loud); to.String() != "10.0.0.7:68" {
		t.Errorf("one that wants it sent to everybody gets it at %s, where others take it", to)
	}
}

// Beside another server it is told the same without an address, and nobody else hears it.
func TestProxyAnswersROM(t *testing.T) {
	b, to := (&Server{Hosts: everyROM{}, Proxy: true}).Answer(t.Context(), unhex(t, fromROM("b827eb000007")))
	a, err := dhcpv4.FromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Options.Get(dhcpv4.OptionVendorSpecificInformation); to.String() != "0.0.0.0:68" || !a.YourIPAddr.IsUnspecified() ||
		a.ServerIPAddr.String() != "10.0.0.1" || a.ClassIdentifier() != "PXEClient" || len(got) != 32 || a.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
		t.Errorf("to %s: %s", to, a.Summary())
	}
}

// wire is a socket in memory.
type wire struct {
	net.PacketConn // nil
	in             chan []byte
	out            chan string // packets to whom, and when
	closed         chan struct{}
	began          time.Time
}

func newWire() *wire {
	return &wire{in: make(chan []byte, 100), out: make(chan string, 100), closed: make(chan struct{}), began: time.Now()}
}

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-w.in:
		return copy(b, p), nil, nil
	case <-w.closed:
		return 0, nil, net.ErrClosed
	}
}

func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	a, err := dhcpv4.FromBytes(b)
	if err != nil {
		return 0, err
	}
	w.out <- a.ClientHWAddr.String() + " is offered " + a.YourIPAddr.String() + " at " + to.String() + " after " + time.Since(w.began).String()
	return len(b), nil
}

func (w *wire) Close() error {
	close(w.closed)
	return nil
}

// Eight boards ask in the same millisecond, with one transaction number: each gets its own
// address, after the delay, and before that the network is asked who has it. Who needs no
// delay does not wait for them.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		ctx, cancel := context.WithCancel(t.Context())
		asked := map[netip.Addr]time.Duration{}
		done := make(chan error)
		questions := make(chan netip.Addr, 8)
		s := &Server{Hosts: everyROM{time.Second}, Log: slog.New(slog.DiscardHandler), Ask: func(ip netip.Addr) error {
			questions <- ip
			return errors.New("nobody hears it")
		}}
		go func() { done <- s.Serve(ctx, w) }()
		for i := range 8 {
			w.in <- unhex(t, fromROM("b827eb00000"+string(rune('1'+i))))
		}
		for range 8 {
			asked[<-questions] = time.Since(w.began)
		}
		got := map[string]bool{}
		for range 8 {
			got[<-w.out] = true
		}
		for i := range 8 {
			n := string(rune('1' + i))
			if want := "b8:27:eb:00:00:0" + n + " is offered 10.0.0." + n + " at 10.0.0." + n + ":68 after 1s"; !got[want] {
				t.Errorf("no %q in %v", want, got)
			}
			if after, is := asked[netip.MustParseAddr("10.0.0."+n)]; !is || after != 0 {
				t.Errorf("who has 10.0.0.%s is asked after %v, %v", n, after, is)
			}
		}
		// It ends while some wait.
		w.in <- unhex(t, fromROM("b827eb000001"))
		<-questions
		cancel()
		if err := <-done; err != nil || len(w.out) > 0 || time.Since(w.began) != time.Second {
			t.Errorf("%v, and %d more answers after %v", err, len(w.out), time.Since(w.began))
		}
	})
}

// slow knows boards as everyROM does: some only when it is told to go on.
type slow struct {
	everyROM
	goOn  chan struct{}
	asked atomic.Int32 // about these
}

func (s *slow) Host(ctx context.Context, c Client) (Host, bool) {
	if c.MAC != "b8:27:eb:00:00:01" {
		s.asked.Add(1)
		<-s.goOn
	}
	return s.everyROM.Host(ctx, c)
}

// Who is known does not wait until it is known who others are. A question is asked once,
// however often it comes until it is answered.
func TestNobodyWaitsForStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		ctx, cancel := context.WithCancel(t.Context())
		hosts := &slow{goOn: make(chan struct{})}
		done := make(chan error)
		go func() { done <- (&Server{Hosts: hosts, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, w) }()
		for range 3 {
			for i := range 5 {
				w.in <- unhex(t, fromROM("b827eb00000"+string(rune('2'+i))))
			}
		}
		w.in <- unhex(t, fromROM("b827eb000001"))
		if got := <-w.out; !strings.HasPrefix(got, "b8:27:eb:00:00:01 is offered 10.0.0.1 ") {
			t.Error(got)
		}
		close(hosts.goOn)
		got := map[string]bool{}
		for range 5 {
			got[(<-w.out)[:17]] = true
		}
		synctest.Wait()
		if len(got) != 5 || len(w.out) > 0 || hosts.asked.Load() != 5 {
			t.Errorf("answered are %v and %d more; it is asked %d times who they are", got, len(w.out), hosts.asked.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
