// Package demo is the lab that "waltd demo" starts: a registry, virtual nodes
// and two users, all on loopback and gone at the end, and a tour of it through
// the real ssh client. It is a user of the server, not a part of it: what it
// shows is what the commands print. Its one surprising rule: it never uses the
// caller's private key; the tour goes with a key of its own, and the caller's
// public keys are let in besides.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/config"
	"walt/images"
	"walt/nodes"
)

// Options say how a demo runs.
type Options struct {
	Once bool // end after the tour
	// Machines is a directory with the archives tiny.tar and debian.tar of images: the
	// nodes are machines that boot them. "": they are simulated.
	Machines string
	Out      io.Writer
	// Start starts a server that logs to log and ends with ctx.
	Start func(ctx context.Context, c config.Config, log io.Writer) (Server, error)
}

// Server is a started server.
type Server struct {
	Address string // host:port
	HostKey ssh.PublicKey
	HostCA  ssh.PublicKey // that signs the host keys of nodes
	Lab     *nodes.Lab
	AddUser func(ctx context.Context, name auth.Name, lines string) error // an administrator
	Done    <-chan error                                                  // receives when it has ended
}

// guest is the second user of the lab.
const guest auth.Name = "bob"

// fleet is how many nodes of each model the lab has.
var fleet = []struct {
	model  images.Model
	prefix string
	nodes  int
}{{"rpi-3-b", "rpi-", 5}, {"rpi-4-b", "rpi4-", 3}, {"pc-x86-64", "pc-", 4}}

// samples are the default images that the lab downloads: one of them is for
// two models.
func samples(now time.Time) []images.Sample {
	day := func(n int) time.Time { return now.AddDate(0, 0, -n).Truncate(time.Second).UTC() }
	files := func(name, motd string) map[string]string {
		return map[string]string{
			"etc/os-release": fmt.Sprintf("NAME=%q\nID=walt-demo\n", name),
			"etc/motd":       motd + "\n",
			"root/README":    "This file is part of the image that this node boots.\n",
		}
	}
	return []images.Sample{
		{Models: []images.Model{"rpi-3-b", "rpi-4-b"}, Preferred: "rpi-default", Created: day(20), Files: files("Demo OS for Raspberry Pi", "One image for two models.")},
		{Models: []images.Model{"pc-x86-64"}, Created: day(6), Files: files("Demo OS for PCs", "A small system for PCs.")},
	}
}

// Run starts the lab, takes the tour, and stays until ctx ends unless o.Once.
// It removes all that it made.
func Run(ctx context.Context, o Options) (err error) {
	if _, err := exec.LookPath("ssh"); err != nil {
		return fmt.Errorf("the tour goes through the ssh client of OpenSSH: %w", err)
	}
	if o.Machines != "" {
		if err := checkMachines(o.Machines); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "waltd-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // until nothing is left to end
	defer stop()

	c := settings(dir)
	if o.Machines == "" {
		fmt.Fprintln(o.Out, "Starting a lab on loopback: a registry, a server and a dozen virtual nodes ...")
		registry, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		web, err := images.ServeSamples(registry, samples(time.Now()))
		if err != nil {
			return err
		}
		defer web.Close()
		c.Registries = []config.Registry{{Label: "lab", URL: "http://" + registry.Addr().String()}}
	} else {
		fmt.Fprintln(o.Out, "Starting a lab on loopback: a server whose virtual nodes are machines ...")
		c.Virtual.Kind = "qemu"
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// The usual port where it is free, another else.
	c.Listen = "127.0.0.1:2222"
	server, err := o.Start(serving, c, log)
	if err != nil {
		c.Listen = "127.0.0.1:0"
		server, err = o.Start(serving, c, log)
	}
	if err != nil {
		return err
	}
	defer func() { // the tour is over: end the server and wait for it
		stop()
		err = errors.Join(err, <-server.Done)
	}()
	l := &lab{dir: dir, server: server, out: o.Out}
	if err := l.people(ctx); err != nil {
		return interrupted(ctx, err)
	}
	example := "rpi-1"
	if o.Machines != "" {
		example = machines[0]
		defer func() { err = errors.Join(err, l.endMachines(serving)) }()
		err = l.tourOfMachines(ctx, o.Machines)
	} else if err = l.furnish(ctx); err == nil {
		err = l.tour(ctx, steps)
	}
	if err != nil || o.Once {
		return interrupted(ctx, err)
	}
	l.invite(example)
	<-ctx.Done()
	fmt.Fprintln(o.Out, "\nThe lab is gone.")
	return nil
}

// interrupted turns an error that comes of the end of ctx into none.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// settings configure the server: it has no location of images yet.
func settings(dir string) config.Config {
	c := config.Default()
	c.Data = filepath.Join(dir, "data")
	c.Virtual.Kind = "simulated" // wherever it is shown
	c.Registries, c.Docker.Host = nil, ""
	return c
}
