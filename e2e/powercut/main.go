//go:build linux

// Command powercut cuts the power of a machine that runs the server on a disk of its
// own, again and again, while users change things, and sees that all that was
// acknowledged is there afterwards and nothing is half done. The machine is
// emulated by QEMU, without root. Its one surprising rule: the disk is part of this
// program, so that a cut also takes what was written and never flushed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"walt/e2e/lab"
)

const (
	diskSize = "384M"
	// A cut comes after up to so many changes, or so long after the machine was
	// switched on.
	someChanges = 80
	manyChanges = 600 // which fill a log
	bootTime    = 8 * time.Second
	// Of so many cuts, one comes after many changes, and one while the machine starts.
	cycle = 12
)

func main() {
	waltd := flag.String("waltd", "bin/waltd", "the server `program` that prepares the data")
	boot := flag.String("guest", "bin/guest", "the `folder` that scripts/guest made, with the server program that is tried")
	cuts := flag.Int("cuts", 200, "how often the power is cut")
	flag.Parse()
	dir, err := os.MkdirTemp("", "walt-powercut-")
	if err == nil {
		t := &trial{dir: dir, boot: *boot}
		if err = t.prepare(*waltd); err == nil {
			err = t.run(*cuts)
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(1)
	}
}

// trial is one run of the program.
type trial struct {
	dir, boot string
	lab       *lab.Lab
	people    []*person
	disk      *disk
}

// prepare has a server on this machine make the data, and makes a disk of them.
func (t *trial) prepare(waltd string) error {
	waltd, err := filepath.Abs(waltd)
	if err != nil {
		return err
	}
	disk := filepath.Join(t.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		return err
	}
	registry, err := lab.NewRegistry(t.dir)
	if err != nil {
		return err
	}
	if err := registry.Start(); err != nil {
		return err
	}
	defer registry.Stop()
	if err := registry.Push(lab.Image{Models: []string{"rpi-3-b"}, Name: "lab/base:latest"}); err != nil {
		return err
	}
	if err := registry.Push(lab.Image{Models: []string{"rpi-3-b"}}); err != nil {
		return err
	}
	if t.lab, err = lab.New(disk, waltd, registry); err != nil {
		return err
	}
	defer t.lab.Kill()
	if err := errors.Join(t.lab.Start(), t.fill(), t.lab.Stop()); err != nil {
		return err
	}
	image := filepath.Join(t.dir, "disk.img")
	out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", disk, image, diskSize).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	t.disk, err = openDisk(image)
	return err
}

// fill makes the users, their nodes and their first image.
func (t *trial) fill() error {
	t.people = newPeople()
	var nodes []string
	for _, p := range t.people {
		for _, s := range p.sets {
			nodes = append(nodes, s.nodes()...)
		}
	}
	for i := range shared {
		nodes = append(nodes, fmt.Sprintf("shared-%d", i))
	}
	var script strings.Builder
	for i, node := range nodes {
		fmt.Fprintf(&script, "device add %s --mac 52:54:01:00:%02x:%02x --model rpi-3-b\n", node, i>>8, i&0xff)
	}
	if _, err := t.lab.Run(script.String(), lab.Admin); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out, err := t.lab.Run("", lab.Admin, "node", "show", "--all", "--names-only")
		if err != nil {
			return err
		}
		if len(strings.Fields(out)) == len(nodes) {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("the nodes do not get their image")
		}
	}
	defer leave(t.people)
	return each(t.people, func(p *person) (err error) {
		if err := t.lab.Add("", p.name); err != nil {
			return err
		}
		if _, err := t.lab.Run("", p.name, "image", "clone", "lab:lab/base"); err != nil {
			return err
		}
		if p.client, err = t.lab.Dial(p.name); err != nil {
			return err
		}
		p.has, err = p.shown()
		return err
	})
}

// run cuts the power so often, and looks after each time.
func (t *trial) run(cuts int) error {
	start := time.Now()
	inBoot := 0
	for n := range cuts {
		if n%cycle == cycle-1 {
			if err := t.cutBoot(); err != nil {
				return fmt.Errorf("cut %d, at a start: %w", n+1, err)
			}
			inBoot++
			continue
		}
		changes := someChanges
		if n%cycle == 0 {
			changes = manyChanges
		}
		if err := t.cutLoad(1 + rand.IntN(changes)); err != nil {
			return fmt.Errorf("cut %d: %w", n+1, err)
		}
		if (n+1)%10 == 0 || n+1 == cuts {
			t.report(n+1, inBoot, start)
		}
	}
	g, err := t.look() // after the last one
	if err != nil {
		return err
	}
	leave(t.people)
	t.report(cuts, inBoot, start)
	return g.cut(t.disk)
}

// look switches the machine on, has all people log in and sees that everything is
// there.
func (t *trial) look() (*guest, error) {
	g, err := powerOn(t.dir, t.boot, t.disk)
	if err != nil {
		return nil, err
	}
	err = g.up(t.lab)
	if errors.Is(err, errHangs) {
		fmt.Println(err, "and is started again")
		if err := g.cut(t.disk); err != nil {
			return nil, err
		}
		return t.look()
	}
	if err == nil {
		err = enter(t.lab, t.people)
	}
	if err == nil {
		err = each(t.people, (*person).check)
	}
	if err == nil {
		err = checkJournal(t.lab, t.people)
	}
	if err != nil {
		leave(t.people)
		return nil, errors.Join(err, g.cut(t.disk))
	}
	return g, nil
}

// cutLoad cuts the power while users change things, after so many changes.
func (t *trial) cutLoad(changes int) error {
	g, err := t.look()
	if err != nil {
		return err
	}
	err = load(t.people, changes, func() error { return g.cut(t.disk) })
	if err != nil {
		return fmt.Errorf("%w; the console:\n%s", err, g.console())
	}
	return nil
}

// cutBoot cuts the power while the machine starts.
func (t *trial) cutBoot() error {
	g, err := powerOn(t.dir, t.boot, t.disk)
	if err != nil {
		return err
	}
	select {
	case <-time.After(rand.N(bootTime)):
	case <-g.ended:
		err = fmt.Errorf("the server did not start; the console:\n%s", g.console())
	}
	return errors.Join(err, g.cut(t.disk))
}

func (t *trial) report(cuts, inBoot int, start time.Time) {
	acks := 0
	for _, p := range t.people {
		acks += p.acks
	}
	fmt.Printf("%v: %d cuts of the power, %d of them at a start; %d acknowledged changes, none lost and none half done; %d flushes, %d blocks lost that nobody was told of\n",
		time.Since(start).Round(time.Second), cuts, inBoot, acks, t.disk.flushes, t.disk.lost)
}
