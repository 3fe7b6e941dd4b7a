//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
	"walt/state"
	"walt/state/badger"
)

// How long writers are measured, and how often in turns.
const (
	writing = time.Second
	rounds  = 9
)

// writers measures durable changes of 1, 8 and 32 users, whose commands run in this
// process and who are at the other ends of pipes. They take turns with as many loops
// that write the same rows to badger alone, and read nothing: with the same options,
// and sharing synchronisations in the same way. The same users through SSH, whose
// clients share the processors with the server, are shown beside.
func (b *bench) writers(l *lab.Lab) error {
	const most = 32
	for n := range most {
		if err := l.Add("", writer(n)); err != nil {
			return err
		}
		if _, err := l.Run(pair(n), writer(n)); err != nil {
			return err
		}
	}
	for _, k := range []int{1, 8, most} {
		rate, err := inTurns(func() (float64, error) { return sshRate(l, k) })
		if err != nil {
			return err
		}
		b.say(fmt.Sprintf("durable acquire and release through SSH, %d users", k), rate[0], 0, "changes/s")
	}
	if err := l.Stop(); err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(30)) // as in the server
	in, err := openInside(l.Data())
	if err != nil {
		return err
	}
	defer in.close()
	beside, err := badger.Open(filepath.Join(b.dir, "beside"), nil)
	if err != nil {
		return err
	}
	defer beside.Close()
	clients := make([]*client, most)
	for n := range clients {
		if clients[n], err = in.session(l, writer(n)); err != nil {
			return err
		}
		defer clients[n].leave()
	}
	rows, err := in.acquireRows(clients[0])
	if err != nil {
		return err
	}
	groups := []int{1, 8, most}
	var turns []func() (float64, error)      // of the store, then of the users, in each group
	shares := make([][]float64, len(groups)) // of the users' rate in the store's just before: the disk's pace changes
	for i, k := range groups {
		var alone float64
		turns = append(turns,
			func() (_ float64, err error) {
				alone, err = storeRate(beside, rows, k)
				return alone, err
			},
			func() (float64, error) {
				rate, err := insideRate(clients[:k])
				shares[i] = append(shares[i], rate/alone)
				return rate, err
			})
	}
	rates, err := inTurns(turns...)
	if err != nil {
		return err
	}
	for i, k := range groups {
		base, got := rates[2*i], rates[2*i+1]
		b.say(fmt.Sprintf("the same rows into the store alone, %d writers", k), base, 0, "changes/s")
		b.print(line{figure: fmt.Sprintf("durable acquire and release, %d users", k), got: got, unit: "changes/s", base: base, ratio: middle(shares[i]), to: "the store", least: 0.6})
	}
	b.print(line{figure: fmt.Sprintf("durable acquire and release, %d users", most), got: rates[5], unit: "changes/s", base: rates[1], to: "1 user", least: 4})
	return nil
}

func writer(n int) string { return fmt.Sprintf("writer-%d", n) }

// pair are the lines of a writer, each with a node of their own.
func pair(n int) string {
	return fmt.Sprintf("node acquire node-%d\nnode release node-%d\n", n, n)
}

// inTurns measures some rates by turns, and returns the middle one of each.
func inTurns(measure ...func() (float64, error)) ([]float64, error) {
	all, middles := make([][]float64, len(measure)), make([]float64, len(measure))
	for range rounds {
		for i, m := range measure {
			rate, err := m()
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], rate)
		}
	}
	for i := range all {
		middles[i] = middle(all[i])
	}
	return middles, nil
}

// together has so many writers change something at the same time, again and again, and
// returns how many changes a second that are. change returns how many it made.
func together(writers int, change func(writer, n int) (int, error)) (float64, error) {
	var all errgroup.Group
	var mu sync.Mutex
	total, start := 0, time.Now()
	for w := range writers {
		all.Go(func() error {
			own := 0
			for n := 0; time.Since(start) < writing; n++ {
				made, err := change(w, n)
				if err != nil {
					return err
				}
				own += made
			}
			mu.Lock()
			defer mu.Unlock()
			total += own
			return nil
		})
	}
	err := all.Wait()
	return float64(total) / time.Since(start).Seconds(), err
}

// storeRate has writers put the rows that an acquire writes into a store, each under
// keys of their own.
func storeRate(store *badger.Store, rows []state.Row, writers int) (float64, error) {
	own := make([][]state.Row, writers)
	for w := range own {
		names := strings.NewReplacer(writer(0), writer(w), "node-0", fmt.Sprintf("node-%d", w))
		for _, row := range rows {
			own[w] = append(own[w], state.Row{Key: names.Replace(row.Key), Value: row.Value})
		}
	}
	round := time.Now().UnixNano()
	return together(writers, func(w, n int) (int, error) {
		_, err := store.Update(context.Background(), func(tx state.Tx) error {
			for _, row := range own[w] {
				if err := write(tx, row, round, w, n); err != nil {
					return err
				}
			}
			return nil
		})
		return 1, err
	})
}

// write writes a row as an acquire did. An event is a row of its own.
func write(tx state.Tx, row state.Row, event ...any) error {
	switch {
	case row.Value == nil:
		return tx.Delete(row.Key)
	case len(row.Value) == 0:
		return tx.Touch(row.Key)
	case strings.HasPrefix(row.Key, "event/"):
		row.Key += fmt.Sprint(event...)
	}
	return tx.Put(row.Key, row.Value)
}

// insideRate has clients acquire and release a node of their own each.
func insideRate(clients []*client) (float64, error) {
	return together(len(clients), func(w, _ int) (int, error) {
		node := fmt.Sprintf("node-%d", w)
		if err := clients[w].run("node acquire "+node, node+" is yours"); err != nil {
			return 0, err // whose second line nobody read: another command would wait for ever
		}
		return 2, clients[w].run("node release "+node, node+" is free")
	})
}

// sshRate is insideRate through SSH: each user sends a script at once and takes the
// answers together, so that the clients leave the processors to the server.
func sshRate(l *lab.Lab, users int) (float64, error) {
	clients := make([]*ssh.Client, users)
	for u := range clients {
		c, err := l.Dial(writer(u))
		if err != nil {
			return 0, err
		}
		defer c.Close()
		clients[u] = c
	}
	return together(users, func(w, _ int) (int, error) {
		const script = 50
		return 2 * script, scripted(clients[w], strings.Repeat(pair(w), script))
	})
}
