package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/nodes"
	"walt/state/badger"
)

// waltShows is what WalT prints: its devices, then its nodes.
const waltShows = "\n\x1b[1mThe WalT network contains the following devices:\n\x1b[0m\n" + `
name         ip            mac                type             netsetup
-----------  ------------  -----------------  ---------------  --------
rpi-D313-2   192.168.12.6  b8:27:eb:2e:94:39  node (physical)  LAN
pc-1         192.168.12.7  00:0D:B9:3B:10:5C  node (physical)  NAT
vm-1         192.168.12.8  52:54:00:12:34:56  node (virtual)   LAN
walt-server  192.168.12.1  00:0e:0c:09:94:4a  server
sw-1         192.168.12.2  6c:b0:ce:0b:33:2c  switch           LAN

tips:
- use 'walt device tree' for a tree view of the network


WalT also detected the following devices but could not detect their type:

name              ip              mac                type     netsetup
----------------  --------------  -----------------  -------  --------
unknown-4f2a1c    192.168.12.240  b8:27:eb:ae:ca:0b  unknown  LAN

The following nodes are currently free:

name        type      model       ip            netsetup  booted
----------  --------  ----------  ------------  --------  ------
rpi-D313-2  physical  rpi-3-b     192.168.12.6  LAN       yes
pc-1        physical  pc-x86-64   192.168.12.7  NAT       NO
vm-1        virtual   pc-x86-64   192.168.12.8  LAN       yes
`

// imported are the devices of a store, as "name mac model".
func imported(t *testing.T, data string) (all []string) {
	t.Helper()
	store, err := badger.Open(stateDir(data), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	lab := nodes.New(nodes.Config{Store: store, Journal: journal.New(store, time.Now), Now: time.Now})
	for _, mac := range []ethernet.MAC{"b8:27:eb:2e:94:39", "00:0d:b9:3b:10:5c", "52:54:00:12:34:56", "00:0e:0c:09:94:4a", "6c:b0:ce:0b:33:2c", "b8:27:eb:ae:ca:0b", "b8:27:eb:2e:94:40"} {
		d, here, err := lab.Device(t.Context(), mac)
		if err != nil {
			t.Fatal(err)
		}
		if here {
			all = append(all, string(d.Name)+" "+string(d.MAC)+" "+string(d.Model))
		}
	}
	return all
}

// Devices of WalT are imported when that is asked for, all of them or none; again changes
// nothing.
func TestImportWalT(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	list := filepath.Join(data, "walt.txt")
	imports := func(text string, args ...string) error {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return importCommand(context.Background(), append(append([]string{"--data", data}, args...), list))
	}
	if err := imports(waltShows); fault.As(err) == nil || !strings.Contains(err.Error(), "no data to import into") {
		t.Errorf("without data: %v", err)
	}
	store, err := badger.Open(stateDir(data), slog.New(slog.DiscardHandler))
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	if err := imports(waltShows); err != nil {
		t.Error(err)
	}
	if got := imported(t, data); len(got) > 0 {
		t.Errorf("without --apply: %q", got)
	}
	if err := imports(waltShows+"\nname  mac  type\n----  ---  ----\nboth  zz   node\n", "--apply"); fault.As(err) == nil || !strings.Contains(err.Error(), "1 line of") {
		t.Errorf("with a wrong line: %v", err)
	}
	if got := imported(t, data); len(got) > 0 {
		t.Errorf("with a wrong line: %q", got)
	}
	want := []string{"rpi-d313-2 b8:27:eb:2e:94:39 rpi-3-b", "pc-1 00:0d:b9:3b:10:5c pc-x86-64", "sw-1 6c:b0:ce:0b:33:2c ", "unknown-4f2a1c b8:27:eb:ae:ca:0b "}
	for range 2 { // also when all of them are there
		if err := imports(waltShows, "--apply"); err != nil {
			t.Error(err)
		}
		if got := imported(t, data); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := imports("name,mac,model\nboard-1,b8:27:eb:2e:94:39,rpi-3-b\n", "--apply"); fault.As(err) == nil {
		t.Errorf("a MAC address of another device: %v", err)
	}
	if err := imports("Name, MAC, Type\nboard-1, b8:27:eb:2e:94:40, rpi-4-b\n", "--apply"); err != nil {
		t.Error(err)
	}
	if got := imported(t, data); !slices.Equal(got, append(want, "board-1 b8:27:eb:2e:94:40 rpi-4-b")) {
		t.Errorf("of CSV: %q", got)
	}
}

// Lists in CSV are as spreadsheets write them.
func TestCSVOfWalT(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"\ufeffname,mac,room,model\r\nrpi-1,b8:27:eb:2e:94:39,\"3, left\",rpi-3-b\r\n",
		"# boards of room 3\n\nName;MAC;Model\n# rpi-0;b8:27:eb:2e:94:38;rpi-3-b\nrpi-1;b8:27:eb:2e:94:39;rpi-3-b\n",
		"\"name\"\t\"room\"\t\"mac\"\t\"model\"\nrpi-1\t\tb8:27:eb:2e:94:39\trpi-3-b\n",
	} {
		list := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := readWalT(list)
		if err != nil || len(found) != 1 {
			t.Errorf("%q: %d devices, %v", text, len(found), err)
			continue
		}
		if a, err := found[0].announce(); err != nil || a != (nodes.Announcement{Name: "rpi-1", MAC: "b8:27:eb:2e:94:39", Model: "rpi-3-b"}) {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

// Each line that is wrong is named, with what to do.
func TestWrongLinesOfWalT(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"name,mac,model\n-x,b8:27:eb:2e:94:39,rpi-3-b\n":                                                `line 2: invalid device name "-x"; `,
		"name,mac,model\nrpi-1,,rpi-3-b\n":                                                              `line 2: rpi-1 has no MAC address; add what "device show" of WalT prints`,
		"name,mac,model\n\nrpi-1,b8:27:eb:2e:94:39,RPI 3\n":                                             `line 3: invalid model "RPI 3"; `,
		"name,mac\nrpi-1,b8:27:eb:2e:94:39\nRPI-1,b8:27:eb:2e:94:40\n":                                  "line 3: rpi-1 is in line 2, too; leave one of them out",
		"name,mac\nrpi-1,b8:27:eb:2e:94:39\nrpi-2,B8:27:EB:2E:94:39\n":                                  "line 3: b8:27:eb:2e:94:39 is in line 2, too; leave one of them out",
		"name   type      model\n-----  --------  -------\nrpi-1  physical  rpi-3-b\n":                  `line 3: rpi-1 has no MAC address; add what "device show" of WalT prints`,
		"name  mac                type\n----  -----------------  ----\na1    xx                 node\n": `line 3: invalid MAC address`,
	} {
		name := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := readWalT(name)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if _, _, _, wrong := announced(found); len(wrong) != 1 || !strings.HasPrefix(wrong[0], want) {
			t.Errorf("%q: %q, want %q", text, wrong, want)
		}
	}
	for _, text := range []string{"", "hello\n", "--\n", "a\n--", "name,mac\n\"", "\xff\xfen\x00a\x00", "--- ---\nx", "name\n---- ---\nx y z\n"} {
		name := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := readWalT(name)
		if _, _, _, wrong := announced(found); err == nil && len(wrong) == 0 || err != nil && fault.As(err) == nil {
			t.Errorf("%q: %v, %v", text, found, err)
		}
	}
}
