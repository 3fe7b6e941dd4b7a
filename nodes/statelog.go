package nodes

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// upSince is since when a device is up as far as the log told, by its MAC; what is
// not up has no row. A server that starts again goes on from there, so that the log
// tells of nothing twice.
var upSince = state.NewTable[time.Time]("up")

// cause is who made a node go down that was up, and why, as the log tells it.
type cause struct {
	actor journal.Actor
	why   string
}

// edge is a node that came up or went down, which the log is to tell.
type edge struct {
	node     Name
	up       bool
	from, to State
	cause    cause
}

// hostStopped is why virtual nodes go down with the server.
var hostStopped = cause{journal.Server, "its host stopped"}

// note has the log told when the new status of a node is up and its last one, as far
// as the log knows, was not, or the other way round. The board is locked.
func (b *board) note(n Name, before, now Status) {
	up := now.State == Up
	if now.untold || up == b.up[n] {
		return
	}
	e := edge{node: n, up: up, from: before.State, to: now.State, cause: now.cause}
	switch {
	case !up:
		e.from = Up
		if expected, is := b.expected[n]; is {
			e.cause = expected
		}
		if e.cause.why == "" {
			e.cause = cause{journal.Server, now.lost()}
		}
	case !before.began.IsZero():
		e.cause = cause{journal.Server, "after " + lasted(b.now().Sub(before.began))}
	default:
		e.cause = cause{journal.Server, "answers again"}
	}
	b.setUp(n, up)
	if !b.hold(e) {
		b.edges = append(b.edges, e)
	}
	b.wakeLog()
}

// expect has the log told why a node goes down, whatever its host knows, until done is
// called.
func (b *board) expect(n Name, why cause) (done func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected[n] = why
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.expected, n)
	}
}

func (b *board) wakeLog() {
	select {
	case b.edged <- struct{}{}:
	default:
	}
}

// lost says why a node is not up any more that nobody made go down.
func (s Status) lost() string {
	switch {
	case s.State == Booting:
		return "started anew by itself"
	case s.Failed:
		return s.Why
	case s.State == Unreachable:
		return "lost: " + s.Why
	}
	return "lost its power"
}

// lasted is a length of time for people.
func lasted(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func (b *board) setUp(n Name, up bool) {
	if up {
		b.up[n] = true
	} else {
		delete(b.up, n)
	}
}

// isUp reports whether a node is up as far as the log tells, and lets it be so.
func (b *board) isUp(n Name) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.up[n]
}

// keepUp sets whether a node is up as far as the log tells, without telling it.
func (b *board) keepUp(n Name, up bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setUp(n, up)
}

// takeEdges returns what the log is to tell, in order.
func (b *board) takeEdges() []edge {
	b.mu.Lock()
	defer b.mu.Unlock()
	edges := b.edges
	b.edges = nil
	return edges
}

// stateLog writes to the log which nodes come up and go down.
type stateLog struct {
	store   state.Store
	journal *journal.Journal
	status  *board
	log     *slog.Logger
	now     func() time.Time
	late    []edge // that the store did not take yet
}

const (
	// tellAgain is after how long the store is asked again to take what it did not.
	tellAgain = 10 * time.Second
	// latest is how many edges are kept for it, the last ones.
	latest = 10_000
)

// recall finds the nodes that were up when the server ended: the simulated ones went
// down with it, if that was not told then; of the others it remains to be seen.
func (s *stateLog) recall(ctx context.Context) error {
	var ended []edge
	err := s.store.View(ctx, func(r state.Reader) error {
		ended = nil
		for e, err := range upSince.Scan(r, "", "") {
			if err != nil {
				return err
			}
			d, err := withMAC(r, ethernet.MAC(e.Key))
			if err != nil {
				return err
			}
			if !d.lasts() {
				ended = append(ended, edge{node: d.Name, from: Up, to: Off, cause: hostStopped})
			} else {
				s.status.keepUp(d.Name, true)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = s.tell(ctx, ended)
	return err
}

// endHosts has the log told that the simulated nodes go down with the server.
func (s *stateLog) endHosts(ctx context.Context) error {
	all, err := state.Read(ctx, s.store, everything)
	if err != nil {
		return err
	}
	s.status.release(true)
	edges := append(s.late, s.status.takeEdges()...)
	for _, d := range all {
		if !d.lasts() && s.status.isUp(d.Name) {
			s.status.keepUp(d.Name, false)
			edges = append(edges, edge{node: d.Name, from: Up, to: Off, cause: hostStopped})
		}
	}
	_, err = s.tell(ctx, edges)
	return err
}

// run tells the log which nodes come up and go down until ctx ends. What the store does
// not take, as when its disk is full, is told when it does.
func (s *stateLog) run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		var due <-chan time.Time
		if pause, held := s.status.release(false); held {
			due = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.status.edged:
		case <-again:
		case <-due:
			s.status.release(false)
		}
		edges := append(s.late, s.status.takeEdges()...)
		told, err := s.tell(context.WithoutCancel(ctx), edges)
		if err != nil && again == nil {
			s.log.Error("the log cannot be told which nodes came up or went down: it will be when that is possible", "err", err)
		}
		again = nil
		if s.late = edges[told:]; fault.As(err) == nil { // that would not help
			s.late = nil
		}
		if len(s.late) > 0 {
			s.late = s.late[max(0, len(s.late)-latest):]
			again = time.After(tellAgain)
		}
	}
}

// edgesAtOnce is how many edges one transaction tells of.
const edgesAtOnce = 200

// tell writes edges to the log, but not of nodes that are gone, and returns how many it
// is done with.
func (s *stateLog) tell(ctx context.Context, edges []edge) (done int, err error) {
	for some := range slices.Chunk(edges, edgesAtOnce) {
		addresses := make([]ethernet.MAC, len(some))
		err := s.store.View(ctx, func(r state.Reader) error {
			for i, e := range some {
				d, _, err := devices.Find(r, string(e.node))
				if err != nil {
					return err
				}
				addresses[i] = d.MAC
			}
			return nil
		})
		if err != nil {
			return done, err
		}
		_, err = s.store.Update(ctx, func(tx state.Tx) error {
			for i, e := range some {
				if err := s.tellOne(tx, e, addresses[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return done, err
		}
		done += len(some)
	}
	return done, nil
}

func (s *stateLog) tellOne(tx state.Tx, e edge, mac ethernet.MAC) error {
	name, _, err := macs.Find(tx, string(mac)) // seldom written, unlike the device
	if err != nil || name != e.node {
		return err
	}
	if e.up {
		err = upSince.Put(tx, string(mac), s.now().UTC())
	} else {
		err = upSince.Delete(tx, string(mac))
	}
	if err != nil {
		return err
	}
	return s.journal.Record(tx, journal.Event{
		Type: journal.State, Actor: e.cause.actor, Node: string(e.node), From: string(e.from), To: string(e.to), Detail: e.cause.why,
	})
}
