package reach

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/nodes"
)

const (
	// quiet is for how long nothing has to be open before the log is told, unless it was cut.
	quiet = time.Minute
	// mostPorts is how many ports of a node are told apart, for each user: the log is not
	// for lists of ports that somebody tries.
	mostPorts = 16
	// mostSources is how many addresses are told of those who came to an exposed port.
	mostSources = 8
	// longest is after how long more who come to an exposed port are another visit: one for
	// all the world may never be quiet.
	longest = time.Hour
)

// trail is what users reach, and the log is not told yet.
type trail struct {
	note func(e journal.Event, cut error)
	now  func() time.Time

	mu    sync.Mutex
	all   map[target]*visit
	ports map[target]int // how many are told apart, by user and node
	over  bool
	notes sync.WaitGroup
}

// target is what is reached: by a user, or by whoever comes to a port of the server. Of one
// whose port is 0 there are more than mostPorts.
type target struct {
	user  auth.Name // "" for who comes to an exposed port
	node  nodes.Name
	port  int
	at    int  // the port of the server; 0: it is over a connection of the user's
	files bool // instead of a port
}

// visit is that a target is reached, until it was not for a while.
type visit struct {
	begun, ended time.Time // ended: when the last one did
	open, count  int       // connections that are, and were in all
	sources      []string  // addresses of those who came to an exposed port, the first ones
	others       bool      // more came
	cut          error     // why one of them was, nil when none was
	timer        *time.Timer
}

// forward notes a connection of a user, until left is called, with the reason if it was cut.
func (t *trail) forward(user auth.Name, node nodes.Name, port int) (left func(why error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	to, known := target{user: user, node: node, port: port}, target{user: user, node: node}
	if t.all[to] == nil {
		if t.ports[known] >= mostPorts {
			to = known
		} else {
			t.ports[known]++
		}
	}
	return t.begin(to, t.visit(to))
}

// files is forward for the files of a node.
func (t *trail) files(user auth.Name, node nodes.Name) (left func(why error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	to := target{user: user, node: node, files: true}
	return t.begin(to, t.visit(to))
}

// exposed is forward for one who comes from an address to an exposed port.
func (t *trail) exposed(e nodes.Exposure, source string) (left func(why error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	to := target{node: e.Node, port: e.To, at: e.Port}
	if v := t.all[to]; v != nil && t.now().Sub(v.begun) >= longest {
		delete(t.all, to) // who is there still belongs to it
		if v.open == 0 {
			t.tell(to, v)
		}
	}
	v := t.visit(to)
	switch {
	case slices.Contains(v.sources, source):
	case len(v.sources) < mostSources:
		v.sources = append(v.sources, source)
	default:
		v.others = true
	}
	return t.begin(to, v)
}

// visit is that of a target, or a new one. t.mu is held.
func (t *trail) visit(to target) *visit {
	if t.all[to] == nil {
		t.all[to] = &visit{begun: t.now()}
	}
	return t.all[to]
}

// begin notes a connection of a visit. t.mu is held.
func (t *trail) begin(to target, v *visit) (left func(why error)) {
	if v.timer != nil {
		v.timer.Stop()
	}
	v.open++
	v.count++
	return func(why error) { t.end(to, v, why) }
}

func (t *trail) end(to target, v *visit, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v.open--
	v.ended = t.now()
	if why != nil {
		v.cut = why
	}
	if v.open > 0 {
		return
	}
	if t.over || v.cut != nil || t.all[to] != v { // nothing more is to come
		t.tell(to, v)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(quiet, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if v.timer == timer && v.open == 0 && t.all[to] == v {
			t.tell(to, v)
		}
	})
	v.timer = timer
}

// tell forgets a visit and tells the log. t.mu is held.
func (t *trail) tell(to target, v *visit) {
	if v.timer != nil {
		v.timer.Stop()
	}
	if t.all[to] == v {
		t.forget(to)
	}
	e, cut := v.event(to), v.cut
	if to.files { // clients of SFTP show it
		cut = nil
	}
	t.notes.Go(func() { t.note(e, cut) }) // ends within noteLimit; close waits for it
}

// forget has the next who reaches a target begin another visit. t.mu is held.
func (t *trail) forget(to target) {
	delete(t.all, to)
	known := target{user: to.user, node: to.node}
	if to.at == 0 && to.port != 0 {
		if t.ports[known]--; t.ports[known] == 0 {
			delete(t.ports, known)
		}
	}
}

// event is what the log is told of a visit that is over.
func (v *visit) event(to target) journal.Event {
	e := journal.Event{Type: journal.Reach, Actor: journal.Actor(to.user), Node: string(to.node), Count: v.count}
	switch {
	case to.files:
		e.To, e.Detail = "files", "its files"
	case to.port == 0:
		e.Detail = "other ports"
	default:
		e.To = strconv.Itoa(to.port)
		e.Detail = "port " + e.To
	}
	if to.at != 0 {
		e.Actor, e.From = journal.Server, strings.Join(v.sources, ", ")
		if v.others {
			e.From += " and others"
		}
		e.Detail += fmt.Sprintf(" by port %d of the server, from %s", to.at, e.From)
	}
	e.Detail += fmt.Sprintf(", for %v", v.ended.Sub(v.begun).Round(time.Second))
	if v.count > 1 {
		e.Detail += fmt.Sprintf(", %d times", v.count)
	}
	if v.cut != nil {
		e.Detail += "; cut: " + fault.Reason(v.cut)
	}
	return e
}

// close tells the log of all that is not open any more.
func (t *trail) close() {
	t.mu.Lock()
	t.over = true
	for to, v := range t.all {
		if v.open == 0 {
			t.tell(to, v)
		}
	}
	t.mu.Unlock()
	t.notes.Wait()
}
