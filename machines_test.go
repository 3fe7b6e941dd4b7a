package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"walt/config"
	"walt/fault"
	"walt/images"
	"walt/nodes"
	"walt/state/badger"
	"walt/vnode/lan"
	"walt/vnode/qemu"
)

// testNetwork is a network that runs until the test ends, and how often it was served.
func testNetwork(t *testing.T) (*network, *atomic.Int32) {
	t.Helper()
	served := new(atomic.Int32)
	n := newNetwork(lan.Config{Subnet: netip.MustParsePrefix("10.217.0.0/24"), Log: slog.New(slog.DiscardHandler)},
		func(ctx context.Context, _ *lan.LAN) error {
			served.Add(1)
			<-ctx.Done()
			return nil
		})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		n.close()
	})
	return n, served
}

// The network of machines is made once, when the first of them need it, whatever was
// set before.
func TestNetworkIsMadeOnce(t *testing.T) {
	t.Parallel()
	n, served := testNetwork(t)
	if err := n.setNAT(true); err != nil || n.lan != nil {
		t.Fatalf("it is there before anybody needs it, %v", err)
	}
	var all sync.WaitGroup
	got := make([]*lan.LAN, 8)
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], err = n.get(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, l := range got {
		if l == nil || l != got[0] {
			t.Fatal("there are several networks")
		}
	}
	if err := n.setNAT(false); err != nil || served.Load() > 1 {
		t.Errorf("served %d times, %v", served.Load(), err)
	}
}

// A lab without machines has none, and who does not want to wait for one does not.
func TestNetworkThatNobodyNeeds(t *testing.T) {
	t.Parallel()
	if n, _ := testNetwork(t); n.lan != nil {
		t.Error("it is there")
	}
	idle := newNetwork(lan.Config{}, nil) // it does not run
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := idle.get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody makes it: %v", err)
	}
	idle.close()
}

// What new virtual nodes are is what the configuration says, if machines can run here;
// that they cannot is said once.
func TestWhatVirtualNodesAre(t *testing.T) {
	t.Parallel()
	able := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(able, []byte("#!/bin/sh\necho QEMU emulator version 8.0.0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind, program string
		model         images.Model
		host          nodes.HostKind
		note, err     string
	}{
		{"simulated", able, "pc-x86-64", nodes.Simulated, "", ""},
		{"auto", able, "pc-x86-64", nodes.QEMU, "", ""},
		{"qemu", able, "pc-x86-64", nodes.QEMU, "", ""},
		{"auto", able, "rpi-3-b", nodes.Simulated, "machines are of the model pc-x86-64", ""},
		{"qemu", able, "rpi-3-b", nodes.Simulated, "machines are of the model pc-x86-64", ""},
		{"auto", able + "-none", "pc-x86-64", nodes.Simulated, "there is no program " + able + "-none", ""},
		{"qemu", able + "-none", "pc-x86-64", "", "", "there is no program " + able + "-none; nothing changed"},
	} {
		var log bytes.Buffer
		s := &server{log: slog.New(slog.NewTextHandler(&log, nil))}
		var err error
		if s.qemu, err = qemu.New(qemu.Config{Dir: "/m", Program: c.program, Network: qemu.Private{}}); err != nil {
			t.Fatal(err)
		}
		creates := s.creates(c.kind)
		host, note, err := creates(c.model)
		if host != c.host || !strings.Contains(note, c.note) || (note == "") != (c.note == "") || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s, %s: %s, %q, %v", c.kind, c.model, host, note, err)
		}
		if f := fault.As(err); err != nil && (f == nil || !strings.Contains(f.Hint, "install QEMU 7.2") || !strings.Contains(f.Hint, "node create NAME --simulated")) {
			t.Errorf("the hint of %v does not help", err)
		}
		if host, again, _ := creates(c.model); host != c.host || c.model == "pc-x86-64" && again != "" {
			t.Errorf("%s: the second one is %s, %q", c.kind, host, again)
		}
		if told := strings.Count(log.String(), "cannot run machines"); told != strings.Count(c.note, "no program") {
			t.Errorf("%s: the log tells it %d times", c.kind, told)
		}
	}
}

// The machines that a server left are ended when it does not run any more.
// Machines run in directories of their own, and find what is in the data from there.
func TestDataOfARelativePath(t *testing.T) {
	t.Parallel()
	c, _, err := configured("serve", []string{"--data", "some/data"})
	if err != nil || !filepath.IsAbs(c.Data) || !strings.HasSuffix(c.Data, "/some/data") {
		t.Errorf("%s, %v", c.Data, err)
	}
}

func TestStopMachines(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	stop := func() error { return stopMachinesCommand([]string{"--data", data}) }
	var ends []chan error
	for _, name := range []string{"525400000001", "525400000002"} {
		dir := filepath.Join(machinesDir(data), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, called := range []string{"walt-" + name, "another"} { // as if its number was given anew
			c := exec.Command("sh", "-c", "read line; exit 7", called)
			c.Dir = dir
			in, err := c.StdinPipe()
			if err == nil {
				err = c.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Wait() }() // ends with the process
			defer in.Close()
			if i == 0 {
				ends = append(ends, ended)
				err = os.WriteFile(filepath.Join(dir, "pid"), fmt.Appendf(nil, "%d\n", c.Process.Pid), 0o600)
			} else {
				other := filepath.Join(machinesDir(data), "525400000003")
				err = errors.Join(os.MkdirAll(other, 0o700), os.WriteFile(filepath.Join(other, "pid"), fmt.Appendf(nil, "%d\n", c.Process.Pid), 0o600))
				defer func() {
					in.Close()
					if err := <-ended; err == nil || err.Error() != "exit status 7" {
						t.Errorf("a process that is no machine: %v", err)
					}
				}()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	store, err := badger.Open(stateDir(data), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), "a server runs on the data in "+data) {
		t.Errorf("while a server runs: %v", err)
	}
	if err := errors.Join(store.Close(), stop()); err != nil {
		t.Fatal(err)
	}
	for _, ended := range ends {
		if err := <-ended; err == nil || err.Error() != "signal: killed" {
			t.Errorf("a machine: %v", err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := stopMachinesCommand([]string{"--data", filepath.Join(data, "none")}); fault.As(err) == nil {
		t.Errorf("without data: %v", err)
	}
}

// A reload names what of [virtual] has changed, and what still waits for a start.
func TestNoteVirtual(t *testing.T) {
	t.Parallel()
	was := config.Default().Virtual
	s := &server{virtual: was}
	tell := func(v config.Virtual, want string) {
		t.Helper()
		if got := fmt.Sprint(s.noteVirtual(v)...); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	tell(was, "")
	v := was
	v.Boot, v.RAM, v.NAT, v.Kind, v.Subnet, v.Network = "pxe", 512, true, "qemu", "10.0.0.0/24", config.InLab
	tell(v, fmt.Sprint("changed", "[virtual] boot, memory, nat", "needs_restart", "[virtual] kind, network, subnet"))
	v.Max = 3
	tell(v, fmt.Sprint("changed", "[virtual] max", "needs_restart", "[virtual] kind, network, subnet"))
	v = was
	tell(v, fmt.Sprint("changed", "[virtual] boot, max, memory, nat"))
	v.CPUs, v.QEMU = 2, "/opt/qemu"
	tell(v, fmt.Sprint("changed", "[virtual] cpus", "needs_restart", "[virtual] qemu"))
}
