package machines

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/e2e/lab"
	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// noting is the program of an outlet that is off while there is the file off beside it, and
// notes in did what it was told to be: see lab.Outlet.
const noting = `#!/bin/sh
cd "$(dirname "$0")"
case $1 in
on) rm -f off; echo on >>did ;;
off) : >off; echo off >>did ;;
status) if [ -e off ]; then echo off; else echo on; fi ;;
*) exit 2 ;;
esac
`

// A board that stands still when it has its kernel is power cycled unasked by whatever gives it
// its power: a driver of each kind, or a port of a PoE switch. One that packets wake gets such a
// packet when somebody takes it, and is left alone when it stands still.
func TestStuckBoards(t *testing.T) {
	t.Parallel()
	if inNetwork(t) {
		return
	}
	newSegment(t)
	const poe, wol = "poe", "wol"
	kinds := append([]string{poe, wol}, lab.OutletKinds...)
	roms, dids := map[string]*rom{}, map[string]string{} // by kind
	var adds, feeds, names []string
	declared := ""
	for i, kind := range kinds {
		mac, name := fmt.Sprintf("b8:27:eb:00:00:%02x", i), "rpi-"+kind
		roms[kind] = newROM(t, fmt.Sprintf("pi%d", i), mac)
		adds, names = append(adds, "device add "+name+" --mac "+mac+" --model rpi-3-b"), append(names, name)
		dir, err := os.MkdirTemp("", "wm") // as for sockets
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		dids[kind] = filepath.Join(dir, "did")
		var device interface {
			Start() error
			Stop() error
		}
		switch kind {
		case wol:
			feeds = append(feeds, "device config "+name+" power=wol")
			continue
		case poe:
			sw, err := lab.NewSwitch(dir, 1, 1, nil)
			program := filepath.Join(dir, "outlet")
			if err == nil {
				err = errors.Join(os.WriteFile(program, []byte(noting), 0o755), sw.Worked(program))
			}
			if err != nil {
				t.Fatal(err)
			}
			device = sw
			feeds = append(feeds, "device add sw-1 --mac 52:54:00:00:02:01",
				"device config sw-1 type=switch address="+sw.Address+" snmp.version=2 snmp.community=private poe.reboots=true",
				"device config "+name+" switch=sw-1 port=1")
		default:
			o, err := lab.NewOutlet(dir, kind, noting)
			if err != nil {
				t.Fatal(err)
			}
			device = o
			declared += o.Driver
			feeds = append(feeds, "device config "+name+" power="+o.Supply+" power.off=1s")
		}
		if err := device.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := device.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	w := newWorld(t, map[string]map[string]string{}, segment, declared)
	imagetest.Push(t, w.registry, "waltplatform/rpi-3-b-default:latest", piImage(t, "rpi-3-b"))
	w.untilLogged("boards and PCs boot from here")
	for _, command := range adds {
		w.does("admin", command)
	}
	for _, name := range names {
		w.until("alice", "node show --all --json", `"name":"`+name+`"`)
	}
	for _, command := range feeds {
		w.does("admin", command)
	}
	all := strings.Join(names, ",")
	w.does("alice", "node acquire "+all)
	if b, _, _, err := roms[wol].hear(9, time.Now().Add(boottest.Wait)); err != nil || !bytes.HasSuffix(b, bytes.Repeat(roms[wol].mac, 16)) {
		t.Errorf("%s is sent % x, %v, and no packet that wakes it", roms[wol].mac, b, err)
	}
	w.does("alice", "node config "+all+" boot.timeout=15s")

	// Each boots whenever it gets power.
	over := make(chan struct{})
	var standing sync.WaitGroup
	defer func() {
		close(over)
		standing.Wait()
	}()
	did := func(kind string) []string {
		text, err := os.ReadFile(dids[kind])
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		return slices.Compact(strings.Fields(string(text))) // a packet that is answered late is sent twice
	}
	begun := map[string]int{}
	for _, kind := range kinds {
		now := did(kind)
		begun[kind] = len(now)
		standing.Go(func() {
			for {
				if err := roms[kind].loadsKernel(); err != nil {
					t.Errorf("the board at %s: %v", kind, err)
					return
				}
				for last := now; len(now) < len(last)+2; now = did(kind) {
					select {
					case <-over:
						return
					case <-time.After(100 * time.Millisecond):
					}
				}
			}
		})
	}
	for _, kind := range kinds {
		says, does := "not up after 15s: power cycle ", []string{"off", "on"}
		if kind == wol {
			says, does = "not up after 15s: left alone, since packets wake it, and nothing can cut its power", nil
		} else {
			w.until("alice", "log show --type power --issuers rpi-"+kind, "(it loaded its kernel, and has not mounted its root)")
		}
		w.until("alice", "log show --type power --issuers rpi-"+kind, says)
		for end := time.Now().Add(boottest.Wait); ; time.Sleep(100 * time.Millisecond) {
			since := did(kind)[begun[kind]:]
			if len(since) >= len(does) && slices.Equal(since[:len(does)], does) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("what gives power to the board at %s was told to be %q, want %q", kind, since, does)
			}
		}
	}
}

// loadsKernel has a board of the model 3 ask for no more than its kernel.
func (r *rom) loadsKernel() error {
	for end := time.Now().Add(boottest.Wait); ; { // until its image is here
		if err := r.address(strings.Repeat("D", 16)); err != nil {
			return err
		}
		_, why, err := r.get("bootcode.bin", false)
		if err == nil && why == "" {
			return r.wants("1234abcd/walt-kernel.img", kernelARM64)
		}
		if err != nil || time.Now().After(end) {
			return fmt.Errorf("there is no bootcode.bin: %s, %w", why, err)
		}
	}
}
