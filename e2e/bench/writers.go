//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
	"walt/state"
	"walt/state/badger"
)

// writers measures durable changes of 1, 8 and 32 users, beside as many loops that
// write the same rows to badger alone: with the same options, and sharing
// synchronisations in the same way. Each user sends a script at once and takes the answers together,
// so that the clients leave the processors to the server.
func (b *bench) writers(l *lab.Lab) error {
	const most, rounds, length = 32, 5, time.Second
	for n := range most {
		if err := l.Add("", fmt.Sprintf("writer-%d", n)); err != nil {
			return err
		}
		if _, err := l.Run(fmt.Sprintf("node acquire node-%d\nnode release node-%d\n", n, n), fmt.Sprintf("writer-%d", n)); err != nil {
			return err
		}
	}
	rows, err := acquireRows(l)
	if err != nil {
		return err
	}
	store, err := badger.Open(filepath.Join(b.dir, "beside"), nil)
	if err != nil {
		return err
	}
	defer store.Close()
	one := 0.0
	for _, k := range []int{1, 8, most} {
		var ours, theirs []float64
		for range rounds {
			beside, err := storeRate(store, rows, k, length)
			if err != nil {
				return err
			}
			theirs = append(theirs, beside)
			rate, err := acquireRate(l, k, length)
			if err != nil {
				return err
			}
			ours = append(ours, rate)
		}
		got, base := middle(ours), middle(theirs)
		b.say(fmt.Sprintf("the same rows into the store alone, %d writers", k), base, 0, "changes/s")
		b.print(line{figure: fmt.Sprintf("durable acquire and release, %d users", k), got: got, unit: "changes/s", base: base, to: "the store", least: 0.6})
		switch k {
		case 1:
			one = got
		case most:
			b.print(line{figure: fmt.Sprintf("durable acquire and release, %d users", k), got: got, unit: "changes/s", base: one, to: "1 user", least: 4})
		}
	}
	return nil
}

// acquireRows are the rows that an acquire wrote, as the stopped server left them:
// those of the device, its owner and the event.
func acquireRows(l *lab.Lab) (rows []state.Row, err error) {
	if _, err := l.Run("", "writer-0", "node", "acquire", "node-0"); err != nil {
		return nil, err
	}
	if err := l.Stop(); err != nil {
		return nil, err
	}
	store, err := badger.Open(filepath.Join(l.Data(), "state"), nil)
	if err != nil {
		return nil, err
	}
	err = store.View(context.Background(), func(r state.Reader) error {
		for _, prefix := range []string{"device/node-0", "owner/writer-0/", "event/"} {
			var last state.Row
			for row, err := range r.Scan(prefix, "") {
				if err != nil {
					return err
				}
				if last = row; prefix == "device/node-0" { // others begin with its name
					break
				}
			}
			if last.Key == "" {
				return fmt.Errorf("an acquire left no row %s", prefix)
			}
			rows = append(rows, state.Row{Key: last.Key, Value: bytes.Clone(last.Value)})
		}
		return nil
	})
	if err := errors.Join(err, store.Close(), l.Start()); err != nil {
		return nil, err
	}
	_, err = l.Run("", "writer-0", "node", "release", "node-0")
	return rows, err
}

// storeRate is how many changes a second that many writers have on disk.
func storeRate(store *badger.Store, rows []state.Row, writers int, length time.Duration) (float64, error) {
	var all errgroup.Group
	var mu sync.Mutex
	total := 0
	start := time.Now()
	for w := range writers {
		all.Go(func() error {
			n := 0
			for ; time.Since(start) < length; n++ {
				_, err := store.Update(context.Background(), func(tx state.Tx) error {
					for i, row := range rows {
						key := fmt.Sprintf("%s/%d", row.Key, w)
						if i == len(rows)-1 { // an event is a row of its own
							key += fmt.Sprintf("/%d/%d", start.UnixNano(), n)
						}
						if err := tx.Put(key, row.Value); err != nil {
							return err
						}
					}
					return tx.Delete(fmt.Sprintf("owner/free/%d", w))
				})
				if err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
			return nil
		})
	}
	err := all.Wait()
	return float64(total) / time.Since(start).Seconds(), err
}

// acquireRate is how many changes a second that many users make, each with a node
// of their own.
func acquireRate(l *lab.Lab, users int, length time.Duration) (float64, error) {
	clients := make([]*ssh.Client, users)
	for u := range clients {
		c, err := l.Dial(fmt.Sprintf("writer-%d", u))
		if err != nil {
			return 0, err
		}
		defer c.Close()
		clients[u] = c
	}
	var all errgroup.Group
	var mu sync.Mutex
	total := 0
	start := time.Now()
	for u, c := range clients {
		all.Go(func() error {
			n, err := pairs(c, fmt.Sprintf("node acquire node-%d\nnode release node-%d\n", u, u), start.Add(length))
			mu.Lock()
			defer mu.Unlock()
			total += 2 * n
			return err
		})
	}
	err := all.Wait()
	return float64(total) / time.Since(start).Seconds(), err
}

// pairs runs pairs of lines, many of them in each script, until the end, and returns
// how many.
func pairs(c *ssh.Client, lines string, end time.Time) (n int, err error) {
	const script = 50
	for time.Now().Before(end) {
		if err := scripted(c, strings.Repeat(lines, script)); err != nil {
			return n, err
		}
		n += script
	}
	return n, nil
}
