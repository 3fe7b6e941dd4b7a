package machines

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/api"
	"walt/netboot/boottest"
)

// node is what the JSON of node show says of a node.
func (w *world) node(user, name string) (n api.Node) {
	w.t.Helper()
	var all struct{ Nodes []api.Node }
	if err := json.Unmarshal([]byte(w.does(user, "node show "+name+" --json")), &all); err != nil || len(all.Nodes) != 1 {
		w.t.Fatal(all, err)
	}
	return all.Nodes[0]
}

// server is the address of the server on the network of machines.
const server = "10.217.0.1"

// What root on mallory's machine can do to the server and to alice's machine: nothing.
func TestHostileMachine(t *testing.T) {
	w := newWorld(t, map[string]map[string]string{
		"waltplatform/pc-x86-64-default": {"bin/hostile": string(boottest.Program(t, "walt/e2e/machines/testdata/hostile"))},
		"alice/secret":                   {"etc/secret": "secret\n", "big": strings.Repeat("0123456789abcdef", 1<<17)},
	}, "nat = true")
	w.does("alice", "node create good --model pc-x86-64")
	w.does("bob", "node create evil --model pc-x86-64")
	w.does("alice", "image clone lab:alice/secret")
	w.does("alice", "node boot good secret")
	w.does("alice", "node wait good")
	w.does("bob", "node wait evil")

	// Other ports of the server, on its network and beyond it, and the other image.
	_, port, err := net.SplitHostPort(w.Address())
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	reach := "node run evil hostile reach " + server + " " + w.digest("alice", "secret")
	for _, a := range addrs {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.To4() != nil {
			reach += " " + net.JoinHostPort(ip.String(), port)
		}
	}
	if out := w.does("bob", reach); out != "done\n" {
		t.Errorf("reached: %s", out)
	}

	// A flood: the neighbour reads its files and answers all the same.
	read := "node run good echo 3 > /proc/sys/vm/drop_caches; cat /big | wc -c"
	took := func() time.Duration {
		begun := time.Now()
		if out := w.does("alice", read); out != "2097152\n" {
			t.Errorf("the file has %q bytes", out)
		}
		return time.Since(begun)
	}
	took()
	alone := min(took(), took())
	begun := time.Now()
	flood := w.SSH("bob", nil, "node", "run", "evil", "cat /dev/zero > /dev/ttyS0 & hostile flood 15 "+server+" "+*w.node("alice", "good").IP+"; kill %1")
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	rounds, beside := 0, time.Hour
	for ; time.Since(begun) < 12*time.Second; rounds++ {
		beside = min(beside, took())
	}
	if err := flood.Wait(); err != nil {
		t.Errorf("the flood: %v", err)
	}
	t.Logf("2 MB are read in %v alone, in %v beside the flood, %d times", alone, beside, rounds)
	if beside > 5*alone+10*time.Second { // or the computer has something else to do by now
		t.Errorf("the neighbour reads its file in %v instead of %v", beside, alone)
	}
	if out := w.does("alice", "node run good grep "+server+" /proc/net/arp"); strings.Count(out, "\n") != 1 || !strings.Contains(out, "02:77:61:6c:74:01") {
		t.Errorf("the neighbour takes somebody else for the server: %s", out)
	}
	w.does("bob", "node run evil true") // its own connection to the server is as good as before

	// Little is left of it.
	if out, err := os.ReadFile(w.Log()); err != nil || strings.Count(string(out), "\n") > 20 || !strings.Contains(string(out), "a node sends what it may not") {
		t.Errorf("the log: %v\n%s", err, out)
	}
	lines, err := filepath.Glob(filepath.Join(w.Data(), "machines", "*", "tty.log*"))
	if err != nil || len(lines) < 2 {
		t.Fatal(lines, err)
	}
	for _, name := range lines {
		if i, err := os.Stat(name); err != nil || i.Size() > 256<<10 {
			t.Errorf("%s: %d bytes, %v", name, i.Size(), err)
		}
	}
}

// digest is that of an image.
func (w *world) digest(user, name string) string {
	w.t.Helper()
	var all struct{ Images []api.Image }
	if err := json.Unmarshal([]byte(w.does(user, "image show --json")), &all); err != nil {
		w.t.Fatal(err)
	}
	for _, i := range all.Images {
		if i.Name == name {
			return i.Digest
		}
	}
	w.t.Fatalf("there is no image %s", name)
	return ""
}
