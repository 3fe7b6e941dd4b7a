package qemu

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot"
	"walt/nodes"
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

func (known) Lease(context.Context, ethernet.MAC, netboot.Pool) (netip.Addr, error) {
	return netip.MustParseAddr("10.0.0.2"), nil
}

// offline is a network that no machine gets connected to: it calls connect, which fails.
type offline struct {
	Private
	connect func(context.Context) error
}

func (offline) Place(context.Context, ethernet.MAC, bool) (netboot.Machine, error) {
	return netboot.Machine{IP: netip.MustParseAddr("10.0.0.2")}, nil
}

func (o offline) Connect(ctx context.Context, _ netboot.Machine, _ string, _ bool) (Cable, error) {
	return Cable{}, o.connect(ctx)
}

// A machine that a server finds and cannot go on with does not run on unseen; one that
// it leaves goes on.
func TestMachineThatCannotBeGoneOnWith(t *testing.T) {
	t.Parallel()
	none := errors.New("no network")
	for _, leave := range []bool{false, true} {
		dir := place(t)
		ended, over := leftover(t, dir), false
		h, err := New(Config{Dir: filepath.Dir(dir), Lab: known{}, Boots: known{over: &over}, Network: offline{connect: func(context.Context) error { return none }}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, l, _, err := h.begin("vm1")
		if err != nil {
			t.Fatal(err)
		}
		l.leave.Store(leave)
		if _, err := h.run(ctx, l, "vm1", true); !errors.Is(err, none) {
			t.Errorf("it goes on: %v", err)
		}
		if over == leave {
			t.Errorf("its boot is over: %v", over)
		}
		if p := process(dir); (p != nil) != leave {
			t.Errorf("when it was to be left is %v, it is %v", leave, p)
		}
		if !leave {
			<-ended
		}
	}
}

// One whose tap somebody removed, or that began on another network, is started anew.
func TestMachineThatLostItsNetwork(t *testing.T) {
	t.Parallel()
	dir := place(t)
	ended := leftover(t, dir)
	lab := known{over: new(bool)}
	h, err := New(Config{Dir: filepath.Dir(dir), Lab: lab, Boots: lab, Network: Private{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Leases: lab}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, l, _, err := h.begin("vm1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.run(ctx, l, "vm1", true); err != nil || got != (ending{again: true, why: unconnected}) {
		t.Errorf("it ended as %+v, %v", got, err)
	}
	<-ended
}

// tells is a lab that keeps why a machine does not run.
type tells struct {
	known
	why *error
}

func (t tells) Failed(_ nodes.Name, err error) { *t.why = err }

func (tells) Limits() (l nodes.Limits) { return l }

// A disk that is full is named to users, and the file to the administrator.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	var why error
	over := false
	lab := tells{known{over: &over}, &why}
	full := &os.PathError{Op: "write", Path: "/x/qemu.log", Err: syscall.ENOSPC}
	h, err := New(Config{
		Dir: place(t), Lab: lab, Boots: lab, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Network: offline{connect: func(context.Context) error { return full }},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start("vm1"); err != nil {
		t.Fatal(err)
	}
	h.lives.Wait()
	if f := fault.As(why); f == nil || !strings.Contains(f.Msg, "is full") || f.Hint == "" {
		t.Errorf("users are told %v", why)
	}
	if !strings.Contains(log.String(), "/x/qemu.log") {
		t.Errorf("the log says %s", log.String())
	}
}
