//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// newLab prepares a lab with the image of one model in its registry and room
// for many connections.
func newLab(dir, waltd string) (*lab.Lab, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	registry, err := lab.NewRegistry(dir)
	if err != nil {
		return nil, err
	}
	l, err := lab.New(dir, waltd, registry)
	if err != nil {
		return nil, err
	}
	config, err := os.ReadFile(l.Config)
	if err != nil {
		return nil, err
	}
	config = append(config, "\n[ssh]\nmax_connections = 3000\n"...)
	return l, errors.Join(
		os.WriteFile(l.Config, config, 0o644),
		registry.Start(),
		registry.Push(lab.Image{Models: []string{"rpi-3-b"}}),
	)
}

// seed adds free nodes, node-0 and so on, the way a person would: with a script
// of device add lines. The first one brings the image of all.
func seed(l *lab.Lab, nodes int) error {
	add := func(from, to int) error {
		var script strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&script, "device add node-%d --mac 52:54:01:%02x:%02x:%02x --model rpi-3-b\n", i, i>>16, i>>8&0xff, i&0xff)
		}
		return runScript(l, lab.Admin, script.String())
	}
	if err := add(0, 1); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := l.Run("", lab.Admin, "node", "show", "--all", "--names-only")
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) == "node-0" {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("the first node does not get its image")
		}
	}
	var adding errgroup.Group // those who share synchronisations of the disk are faster
	adding.SetLimit(32)
	for from := 1; from < nodes; from += 250 {
		adding.Go(func() error { return add(from, min(from+250, nodes)) })
	}
	if err := adding.Wait(); err != nil {
		return err
	}
	out, err := l.Run("", lab.Admin, "node", "show", "--all", "--names-only")
	if got := strings.Count(out, "\n"); err == nil && got != nodes {
		err = fmt.Errorf("%d of %d nodes are there", got, nodes)
	}
	return err
}

// runScript runs the lines of a script with a client in this process.
func runScript(l *lab.Lab, name, script string) error {
	c, err := l.Dial(name)
	if err != nil {
		return err
	}
	defer c.Close()
	return scripted(c, script)
}

func scripted(c *ssh.Client, script string) error {
	session, err := c.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	var errs bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(script), io.Discard, &errs
	if err := errors.Join(session.Shell(), session.Wait()); err != nil {
		return fmt.Errorf("a script: %w: %s", err, errs.Bytes())
	}
	return nil
}
