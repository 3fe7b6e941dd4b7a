package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"testing"

	"walt/ethernet"
	"walt/nodes"
	"walt/vnode/lan"
)

// known is a lab with one node, and what leases it an address.
type known struct {
	Lab
	Boots
	over *bool
}

func (k known) Over(netip.Addr) { *k.over = true }

func (known) Named(_ context.Context, names []nodes.Name) ([]nodes.DeviceStatus, error) {
	return []nodes.DeviceStatus{{Device: &nodes.Device{Name: names[0], MAC: mac}}}, nil
}

func (known) Lease(context.Context, ethernet.MAC, netip.Prefix) (netip.Addr, error) {
	return netip.MustParseAddr("10.0.0.2"), nil
}

// deaf is the monitor of a machine that hears nothing.
func deaf() *monitor {
	ours, theirs := net.Pipe()
	m := &monitor{conn: ours, gone: make(chan struct{}), waiting: map[int]chan message{}}
	go func() { // ends with the connection
		defer theirs.Close()
		m.listen(json.NewDecoder(ours))
	}()
	return m
}

// A machine that a server finds and cannot go on with does not run on unseen; one that
// it leaves goes on.
func TestMachineThatCannotBeGoneOnWith(t *testing.T) {
	t.Parallel()
	none := errors.New("no network")
	for _, leave := range []bool{false, true} {
		dir := place(t)
		over := false
		h, err := New(Config{Dir: dir, Lab: known{}, Boots: known{over: &over}, LAN: func(context.Context) (*lan.LAN, error) { return nil, none }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, l, _, err := h.begin("vm1")
		if err != nil {
			t.Fatal(err)
		}
		l.leave.Store(leave)
		c := exec.Command("/bin/sh", "-c", "read line")
		if _, err := c.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		m := &Machine{process: c.Process, monitor: deaf(), gone: make(chan struct{}), left: make(chan struct{})}
		go func() { // ends with the process
			defer close(m.gone)
			c.Wait()
		}()
		if _, err := h.run(ctx, l, "vm1", m); !errors.Is(err, none) {
			t.Errorf("it goes on: %v", err)
		}
		if over == leave {
			t.Errorf("its boot is over: %v", over)
		}
		select {
		case <-m.gone:
			if leave {
				t.Error("it was ended")
			}
		case <-m.left:
			if !leave {
				t.Error("it was left")
			}
			m.Kill()
		default:
			t.Error("nobody looks after it")
			m.Kill()
		}
	}
}
