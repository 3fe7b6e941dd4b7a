//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"walt/api"
	"walt/e2e/lab"
)

// pool is a lab whose nodes are machines, and what makes the like by hand.
type pool struct {
	*bench
	*lab.Lab
	shop   *shop
	client *ssh.Client // of an administrator
}

// nodesOfTiny are the nodes that boot the tiny image; node-deb boots the Debian.
const (
	nodesOfTiny = 6
	debian      = "node-deb"
)

// boots measures machines from power on to up, beside machines made by hand.
func (b *bench) boots(l *lab.Lab) error {
	p, why, err := b.openPool(l)
	if err != nil {
		return err
	}
	if why != "" {
		fmt.Printf("booting machines is left out: %s\n", why)
		return nil
	}
	defer p.close()
	tiny, err := p.modelOf("node-0", "tiny", "")
	if err != nil {
		return err
	}
	if err := p.compare("tiny, direct kernel: power on to up, median", tiny, 1.15, "node-0"); err != nil {
		return err
	}
	var six []string
	for i := range nodesOfTiny {
		six = append(six, fmt.Sprintf("node-%d", i))
	}
	if err := p.compare("six tiny at once: power on to the last one up, median", tiny, 1.5, six...); err != nil {
		return err
	}
	if err := p.restart(six...); err != nil {
		return err
	}
	if err := p.acquire(); err != nil {
		return err
	}
	deb, err := p.modelOf(debian, "debian", "/sbin/init")
	if err != nil {
		return err
	}
	if err := p.compare("Debian with systemd: power on to up, median", deb, 1.25, debian); err != nil {
		return err
	}
	if err := p.traffic(); err != nil {
		return err
	}
	return p.turns(deb)
}

// openPool makes the nodes of a lab machines. It returns why there cannot be any here.
func (b *bench) openPool(l *lab.Lab) (p *pool, why string, err error) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return nil, "there is no program qemu-system-x86_64", nil
	}
	archives := filepath.Join(filepath.Dir(b.waltd), "machines")
	make := exec.Command("scripts/machines", archives)
	make.Stdout, make.Stderr = os.Stderr, os.Stderr
	if err := make.Run(); err != nil {
		return nil, fmt.Sprintf("scripts/machines does not make the images: %v", err), nil
	}
	config, err := os.ReadFile(l.Config)
	if err != nil {
		return nil, "", err
	}
	config = bytes.ReplaceAll(config, []byte(lab.Simulated), []byte(`kind = "qemu"`))
	if err := errors.Join(l.Stop(), os.WriteFile(l.Config, config, 0o644), l.Start()); err != nil {
		return nil, "", err
	}
	for _, image := range []string{"tiny", "debian"} {
		archive, err := os.Open(filepath.Join(archives, image+".tar"))
		if err != nil {
			return nil, "", err
		}
		defer archive.Close()
		load := l.SSH(lab.Admin, nil, "image", "load", image)
		load.Stdin = archive
		if out, err := load.CombinedOutput(); err != nil {
			return nil, "", fmt.Errorf("image load %s: %w\n%s", image, err, out)
		}
	}
	p = &pool{bench: b, Lab: l}
	p.endWhenTold()
	if p.client, err = l.Dial(lab.Admin); err != nil {
		return nil, "", err
	}
	err = p.do("advanced set-default-image tiny")
	for i := range nodesOfTiny {
		err = errors.Join(err, p.do(fmt.Sprintf("node create node-%d --model pc-x86-64 --ram 256M", i)))
	}
	if err = errors.Join(err, p.do("node create "+debian+" --model pc-x86-64"), p.do("node boot "+debian+" debian"), p.do("node wait my-nodes --timeout 300s")); err != nil {
		p.end()
		return nil, "", err
	}
	var digests []string
	for _, image := range []string{"tiny", "debian"} {
		d, err := p.digest(image)
		if err != nil {
			p.end()
			return nil, "", err
		}
		digests = append(digests, d)
	}
	if p.shop, err = openShop(filepath.Join(l.Dir, "shop"), l, digests...); err != nil {
		p.end()
		return nil, "", err
	}
	return p, "", nil
}

func (p *pool) close() {
	p.shop.close()
	p.end()
}

// end ends all machines.
func (p *pool) end() {
	p.client.Close()
	p.Kill()
	p.stopMachines()
}

// endWhenTold ends the program, and all machines with it, when a signal tells it to.
func (p *pool) endWhenTold() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, unix.SIGTERM)
	go func() { // ends with the program
		<-told
		p.Signal(unix.SIGKILL) // what ended has no need of it
		p.stopMachines()
		os.RemoveAll(p.dir)
		os.Exit(130)
	}()
}

func (p *pool) stopMachines() {
	if out, err := exec.Command(p.Waltd, "stop-machines", "--data", p.Data()).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n%s", err, out)
	}
}

// do runs commands.
func (p *pool) do(commands ...string) error {
	for _, command := range commands {
		if _, err := timed(p.client, command); err != nil {
			return err
		}
	}
	return nil
}

// answer is what a command prints as JSON.
func (p *pool) answer(command string, into any) error {
	out, err := p.Run("", lab.Admin, strings.Fields(command+" --json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

func (p *pool) digest(image string) (string, error) {
	var all struct{ Images []api.Image }
	err := p.answer("image show", &all)
	for _, i := range all.Images {
		if i.Name == image {
			return i.Digest, err
		}
	}
	return "", errors.Join(err, fmt.Errorf("there is no image %s", image))
}

// process is the one of a node's machine.
func (p *pool) process(node string) (int, error) {
	var all struct{ Nodes []api.Node }
	if err := p.answer("node show "+node, &all); err != nil {
		return 0, err
	}
	dir := strings.ReplaceAll(string(all.Nodes[0].MAC), ":", "")
	text, err := os.ReadFile(filepath.Join(p.Data(), "machines", dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// modelOf is how a node's machine, which is up, was started. Then all are switched off.
func (p *pool) modelOf(node, image, init string) (m model, err error) {
	pid, err := p.process(node)
	if err != nil {
		return m, err
	}
	digest, err := p.digest(image)
	if err != nil {
		return m, err
	}
	if m, err = modelOf(pid, digest, init); err != nil {
		return m, err
	}
	return m, p.do("node off my-nodes --hard")
}

// compare measures nodes from power on until all are up, and as many machines made by
// hand, in turns.
func (p *pool) compare(figure string, m model, most float64, nodes ...string) error {
	var ours, theirs []time.Duration
	set := strings.Join(nodes, ",")
	for range p.rounds {
		begun := time.Now()
		if err := p.do("node on "+set, "node wait "+set+" --timeout 300s"); err != nil {
			return err
		}
		ours = append(ours, time.Since(begun))
		if err := p.do("node off " + set + " --hard"); err != nil {
			return err
		}
		begun = time.Now()
		var all errgroup.Group
		for range nodes {
			all.Go(func() error {
				_, err := p.shop.boot(m)
				return err
			})
		}
		if err := all.Wait(); err != nil {
			return err
		}
		theirs = append(theirs, time.Since(begun))
	}
	p.print(line{figure: figure, got: median(ours) / 1000, unit: "s", base: median(theirs) / 1000, to: "by hand", most: most})
	return nil
}
