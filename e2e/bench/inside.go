//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/commands"
	"walt/e2e/lab"
	"walt/images"
	"walt/journal"
	"walt/nodes"
	"walt/power"
	"walt/state"
	"walt/state/badger"
)

// inside is the parts of a server in this process, on the data of one that was
// stopped: what runs commands, without SSH.
type inside struct {
	store   *badger.Store
	app     *commands.App
	stop    context.CancelFunc
	running sync.WaitGroup
}

// openInside connects the parts as the server does.
func openInside(data string) (*inside, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	store, err := badger.Open(filepath.Join(data, "state"), log)
	if err != nil {
		return nil, err
	}
	j := journal.New(store, time.Now)
	users := auth.New(store, j, time.Now)
	library, err := images.Open(filepath.Join(data, "images"), store, j, images.KnownPlatforms(), time.Now)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	catalog := images.NewCatalog(images.Config{Store: store, Journal: j, Content: library, Log: log, Now: time.Now})
	ports := power.New(power.Config{Store: store, Journal: j, Log: log, Now: time.Now})
	devices := nodes.New(nodes.Config{Store: store, Journal: j, Users: users, Images: catalog, Ports: ports, Log: log, Now: time.Now})
	catalog.Nodes, ports.Devices, library.Present = devices, devices, devices.Models
	in := &inside{store: store, app: commands.New(commands.Services{
		Lab: devices, Images: catalog, Library: library, Users: users, Journal: j,
		Online: func(auth.Name) bool { return true }, Log: log, Now: time.Now,
	})}
	ctx, stop := context.WithCancel(context.Background())
	in.stop = stop
	for _, run := range []func(context.Context) error{
		devices.Run, ports.Run, catalog.Run, func(ctx context.Context) error { return j.Run(ctx, log) },
	} {
		in.running.Go(func() { // ends with close
			if err := run(ctx); err != nil {
				log.Error("a part of the server failed", "err", err)
			}
		})
	}
	return in, nil
}

func (in *inside) close() error {
	in.stop()
	in.running.Wait()
	return in.store.Close()
}

// client is a user who types into one end of a pipe and reads from another.
type client struct {
	in    *io.PipeWriter
	out   *io.PipeReader
	lines *bufio.Scanner
}

// session runs what a client types, a line after the other, until the client leaves.
func (in *inside) session(l *lab.Lab, user string) (*client, error) {
	text, err := os.ReadFile(l.Key(user) + ".pub")
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, err
	}
	typed, types := io.Pipe()
	read, written := io.Pipe()
	s := commands.Session{
		User: auth.Name(user), Key: ssh.FingerprintSHA256(key), In: strings.NewReader(""), Out: written, Err: written,
		Ask: func(context.Context, string) (string, error) { return "", io.EOF },
	}
	in.running.Go(func() { // ends when the client leaves
		for lines := bufio.NewScanner(typed); lines.Scan(); {
			own := s
			in.app.Run(context.Background(), &own, lines.Text())
		}
		written.Close()
	})
	return &client{types, read, bufio.NewScanner(read)}, nil
}

// run types a line, and reads its answer, which is one line.
func (c *client) run(line, answer string) error {
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		return err
	}
	if !c.lines.Scan() {
		return fmt.Errorf("%s: no answer: %v", line, c.lines.Err())
	}
	if got := c.lines.Text(); !strings.Contains(got, answer) {
		return fmt.Errorf("%s: %s", line, got)
	}
	return nil
}

func (c *client) leave() {
	c.in.Close()
	for c.lines.Scan() {
	}
}

// acquireRows are the rows that an acquire writes and deletes, guards included.
func (in *inside) acquireRows(c *client) ([]state.Row, error) {
	watch := in.store.Watch("")
	defer watch.Close()
	if err := c.run("node acquire node-0", "is yours"); err != nil {
		return nil, err
	}
	for {
		b, err := watch.Next(context.Background())
		if err != nil {
			return nil, err
		}
		if b.Rows[0].Key == "device/node-0" { // not of what else begins to run
			return b.Rows, c.run("node release node-0", "is free")
		}
	}
}
