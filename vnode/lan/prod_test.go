package lan_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"walt/vnode/lan"
)

// A machine waits for an answer on a connection with a server that is gone. The next one
// has it find that out, and does not disturb a connection of its own.
func TestProd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.boot("one")
	begin := func() (machine, server net.Conn) {
		t.Helper()
		l, err := w.Listen(2049)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		machine, err = h.dial(netip.AddrPortFrom(w.Server, 2049))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { machine.Close() })
		if server, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return machine, server
	}
	machine, server := begin()
	at := netip.MustParseAddrPort(machine.LocalAddr().String())
	w.Prod(2049, at)
	w.Prod(2049, netip.AddrPortFrom(at.Addr(), at.Port()+1))      // of none
	w.Prod(2049, netip.MustParseAddrPort("10.99.0.200:1"))        // of nobody
	if _, err := server.Write([]byte("still here")); err != nil { // behind that
		t.Fatal(err)
	}
	if err := machine.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(machine, make([]byte, len("still here"))); err != nil {
		t.Fatal(err)
	}

	// Another server on the same sockets.
	w.Close()
	another, err := lan.New(lan.Config{Subnet: subnet, Log: slog.New(slog.DiscardHandler), Lookup: w.find})
	if err != nil {
		t.Fatal(err)
	}
	w.LAN = another
	t.Cleanup(another.Close)
	if _, err := w.Connect(lan.Cable{Name: "one", MAC: h.mac, IP: h.ip, Ours: h.to.Name, Peer: filepath.Join(w.dir, "one")}); err != nil {
		t.Fatal(err)
	}
	if err := machine.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // ends with the connection
		_, err := machine.Read(make([]byte, 1))
		ended <- err
	}()
	err = nil
	for wait := true; wait; { // it answers what it does not expect twice a second at most
		w.Prod(2049, at)
		select {
		case err = <-ended:
			wait = false
		case <-time.After(100 * time.Millisecond):
		}
	}
	var late net.Error
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &late) && late.Timeout() {
		t.Errorf("it waits on: %v", err)
	}
	begin()
}
