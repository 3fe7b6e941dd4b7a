package machines

import (
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
// its power: a driver of each kind, or a port of a PoE switch. One that packets wake is left alone.
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
	w.does("alice", "node config "+all+" boot.timeout=15s")

	var booting sync.WaitGroup
	for kind, r := range roms {
		if err := os.WriteFile(dids[kind], nil, 0o644); err != nil { // it was told to be on when it was taken
			t.Fatal(err)
		}
		booting.Go(func() {
			if err := r.boots3(); err != nil {
				t.Errorf("the board at %s: %v", kind, err)
			}
		})
	}
	booting.Wait()
	for _, kind := range kinds {
		does, want := "power cycle ", "off on"
		if kind == wol {
			does, want = "left alone, since packets wake it, and nothing can cut its power", ""
		}
		log := "log show --type power --issuers rpi-" + kind
		w.until("alice", log, "(it loaded its kernel, and has not mounted its root)")
		if out := w.does("alice", log); !strings.Contains(out, "not up after 15s: "+does) {
			t.Errorf("%s: the log says %s", kind, out)
		}
		for end := time.Now().Add(boottest.Wait); ; time.Sleep(100 * time.Millisecond) {
			did, err := os.ReadFile(dids[kind])
			words := strings.Join(slices.Compact(strings.Fields(string(did))), " ") // a packet that is answered late is sent twice
			if err == nil && strings.HasPrefix(words+" ", want+" ") {
				break
			}
			if err != nil || time.Now().After(end) {
				t.Fatalf("%s: what gives it power was told to be %q, %v, want %q", kind, words, err, want)
			}
		}
	}
}
