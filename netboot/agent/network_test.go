//go:build linux

package main

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/netboot/boottest"
	"walt/netboot/instructions"
)

// A machine whose cable is not in, and which then is not answered, says what it waits for, and
// boots when it is.
func TestMachineWaitsForItsNetwork(t *testing.T) {
	t.Parallel()
	boottest.Need(t, "busybox")
	b := newBench(t)
	b.silent = make(chan struct{})
	b.in.Init = "/sbin/init"
	b.files["/image.tar"] = boottest.Busybox(t, true, nil)
	monitor := filepath.Join(t.TempDir(), "qmp")
	b.start(256, "-S", "-qmp", "unix:"+monitor+",server=on,wait=off")
	m := b.monitor(monitor)
	link := func(up bool) {
		m("set_link", map[string]any{"name": "n0", "up": up})
	}
	link(false)
	m("cont", struct{}{})
	b.says("eth0 has no link: is its cable in")
	link(true)
	b.says("nothing answers yet: the port of its switch may look for loops first")
	close(b.silent)
	b.wait("up", at(instructions.Up))
	if out, err := b.run(b.dial(), "cat /sys/class/net/eth0/carrier"); err != nil || out != "1\n" {
		t.Errorf("its link: %q, %v", out, err)
	}
}

// says waits until the console has some words.
func (b *bench) says(words string) {
	b.t.Helper()
	for end := time.Now().Add(boottest.Wait); !strings.Contains(b.machine.Console(), words); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("its console does not say %q", words)
		}
	}
}

// monitor has QEMU do things, see docs/interop/qmp-spec.rst there.
func (b *bench) monitor(path string) (execute func(command string, arguments any)) {
	b.t.Helper()
	var conn net.Conn
	var err error
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if conn, err = net.Dial("unix", path); err == nil {
			break
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	var said map[string]any
	if err := in.Decode(&said); err != nil {
		b.t.Fatal(err)
	}
	execute = func(command string, arguments any) {
		b.t.Helper()
		err := out.Encode(map[string]any{"execute": command, "arguments": arguments})
		for said = nil; err == nil && said["return"] == nil && said["error"] == nil; { // events come between
			err = in.Decode(&said)
		}
		if err != nil || said["error"] != nil {
			b.t.Fatalf("%s: %v, %v", command, said, err)
		}
	}
	execute("qmp_capabilities", struct{}{})
	return execute
}
