package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

// machines are the nodes of a lab of machines.
var machines = []string{"vm1", "vm2", "vm3"}

// machineLimit is how long these may take to boot: without hardware support for it, on a
// machine that is busy, that is long.
const machineLimit = 5 * time.Minute

// archive is the file of an image.
func archive(dir, image string) string { return filepath.Join(dir, image+".tar") }

// checkMachines is a fault when what a lab of machines needs is not here.
func checkMachines(dir string) error {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return fault.Failedf("the machines need QEMU").WithHint("on Debian: apt-get install qemu-system-x86")
	}
	for _, image := range []string{"tiny", "debian"} {
		if _, err := os.Stat(archive(dir, image)); err != nil {
			return fault.Failedf("the machines need images: %v", err).WithHint("they are made by: scripts/machines %s", dir)
		}
	}
	return nil
}

// tourOfMachines loads the images of the directory, starts machines, and shows what
// can be done with them.
func (l *lab) tourOfMachines(ctx context.Context, dir string) error {
	err := l.tour(ctx, []step{
		{"An image comes from a file, as docker save would write it:", "image load tiny", "<" + archive(dir, "tiny")},
		{"", "image load debian", "<" + archive(dir, "debian")},
		{"An administrator chooses what free nodes of a model boot:", "advanced set-default-image tiny", ""},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(l.out, "\n# Three machines are started. Each boots the kernel of its image, over the network:\n")
	began := time.Now()
	for i, name := range machines {
		if err := l.plugIn(ctx, name, 0x81+i, "pc-x86-64", nodes.QEMU); err != nil {
			return err
		}
	}
	if err := l.settle(ctx, machineLimit); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "All are up after %v.\n", time.Since(began).Round(time.Second))
	return l.tour(ctx, []step{
		{"Everything in the lab, and whose it is:", "node show --all", ""},
		{"A free node is yours at once. It reboots on your copy of its default image:", "node acquire vm1", ""},
		{"Wait until it is up, and run something on it:", "node wait vm1", ""},
		{"", "node run vm1 'uname -a; free -m'", ""},
		{"A Debian may take longer than the 3 minutes in which a node should be up, where QEMU has no help of the hardware:", "node config vm1 boot.timeout=10m", ""},
		{"Have it boot another image:", "node boot vm1 debian", ""},
		{"", "node wait vm1", ""},
		{"", "node run vm1 'head -1 /etc/os-release; cat /proc/1/comm'", ""},
		{"", "node show", ""},
		{"Give it back; what you release is free for all:", "node release vm1", ""},
	})
}

// endMachines ends all machines, which would go on without the server.
func (l *lab) endMachines(ctx context.Context) error {
	all, err := l.server.Lab.AllDevices(ctx)
	if err != nil || all.Len() == 0 {
		return err
	}
	var names []string
	for d := range all.Found() {
		names = append(names, string(d.Name))
	}
	set, err := nodes.ParseSet(strings.Join(names, ","))
	if err != nil {
		return err
	}
	if _, err = l.server.Lab.Remove(ctx, l.me, set, consent.Agreement{Whoever: true}); err == nil {
		fmt.Fprintln(l.out, "\nAll machines are ended.")
	}
	return err
}
