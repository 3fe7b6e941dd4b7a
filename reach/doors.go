// Package reach is what users reach of nodes with their own programs: forwards of ports
// over connections of their own, and ports of the server that owners expose nodes at. Who may,
// and until when, package nodes decides; here a way is entered by that, and ends with it. Its
// one surprising rule: what the log tells of a port, or of a node's files, which package files
// opens, is one event for many connections, written once none of them was open for a minute.
// DESIGN.md has the threats to this.
package reach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/nodes"
	"walt/state"
)

// Way is a stay of a user at a node, as nodes.Way.
type Way interface {
	// Context ends when the stay does, with the reason.
	Context() context.Context
	// Dial connects to a port of the node.
	Dial(ctx context.Context, port int) (net.Conn, error)
	// Leave ends the stay.
	Leave()
	// Owner is who had the node when the stay began.
	Owner() auth.Name
}

// Config is what Doors work with.
type Config struct {
	// Enter begins a stay of the user at a node, which is waited for as long as wait.
	Enter func(ctx context.Context, user auth.Name, n nodes.Name, wait time.Duration) (Way, error)
	// Exposures are the ports of the server that nodes are exposed at.
	Exposures func(context.Context) ([]nodes.Exposure, error)
	Host      string // that these ports are listened on at; "": all addresses
	Own       int    // the port of the server's SSH, which is none of them
	// Online reports whether a user has a session, who is told there of what is cut.
	Online  func(auth.Name) bool
	Store   state.Store
	Journal *journal.Journal
	Log     *slog.Logger
	Now     func() time.Time
}

// Doors are all ways to nodes.
type Doors struct {
	Config
	trail trail
	gates gates
}

// New returns the doors. Close ends them.
func New(c Config) *Doors {
	d := &Doors{Config: c}
	d.trail = trail{note: d.note, now: c.Now, all: map[target]*visit{}, ports: map[target]int{}}
	return d
}

// Close has the log told of all that it was not told yet. Nothing is open any more.
func (d *Doors) Close() { d.trail.close() }

// note tells the log what was reached, and the user in their shells if it was cut.
func (d *Doors) note(e journal.Event, cut error) {
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	_, err := d.Store.Update(ctx, func(tx state.Tx) error {
		err := d.Journal.Record(tx, e)
		if cut != nil && d.Online(auth.Name(e.Actor)) {
			err = errors.Join(err, d.Journal.Tell(tx, string(e.Actor), notice(e, cut)))
		}
		return err
	})
	if err != nil {
		d.Log.Error("note that a node was reached", "user", e.Actor, "node", e.Node, "what", e.Detail, "err", err)
	}
}

// notice is what a user is told of connections to a node that were cut, since no client of
// SSH shows why a channel ends.
func notice(e journal.Event, cut error) string {
	where := "other ports"
	if e.To != "" {
		where = "port " + e.To
	}
	return fmt.Sprintf("what you had open to %s of %s was cut: %s", where, e.Node, fault.Reason(cut))
}

// noteLimit is how long it may take to write that into the log.
const noteLimit = 10 * time.Second
