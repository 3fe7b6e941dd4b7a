package reach

import (
	"fmt"
	"strconv"
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

// target is what a user reaches. Of one whose port is 0 there are more than mostPorts.
type target struct {
	user auth.Name
	node nodes.Name
	port int
}

// visit is that a target is reached, until it was not for a while.
type visit struct {
	begun, ended time.Time // ended: when the last one did
	open, count  int       // connections that are, and were in all
	cut          error     // why one of them was, nil when none was
	timer        *time.Timer
}

// begin notes a connection, until left is called, with the reason if it was cut.
func (t *trail) begin(user auth.Name, node nodes.Name, port int) (left func(why error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all, t.ports = map[target]*visit{}, map[target]int{}
	}
	to, known := target{user, node, port}, target{user: user, node: node}
	if t.all[to] == nil && t.ports[known] >= mostPorts {
		to = known
	}
	v := t.all[to]
	if v == nil {
		v = &visit{begun: t.now()}
		t.all[to] = v
		if to.port != 0 {
			t.ports[known]++
		}
	}
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
	if t.over || v.cut != nil { // nothing more is to come
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
	delete(t.all, to)
	known := target{user: to.user, node: to.node}
	if to.port != 0 {
		if t.ports[known]--; t.ports[known] == 0 {
			delete(t.ports, known)
		}
	}
	what := "port " + strconv.Itoa(to.port)
	if to.port == 0 {
		what = "other ports"
	}
	detail := fmt.Sprintf("%s, for %v", what, v.ended.Sub(v.begun).Round(time.Second))
	if v.count > 1 {
		detail += fmt.Sprintf(", %d times", v.count)
	}
	if v.cut != nil {
		detail += "; cut: " + fault.Reason(v.cut)
	}
	e := journal.Event{Type: journal.Reach, Actor: journal.Actor(to.user), Node: string(to.node), Detail: detail, Count: v.count}
	if to.port != 0 {
		e.To = strconv.Itoa(to.port)
	}
	t.notes.Go(func() { t.note(e, v.cut) }) // ends within noteLimit; close waits for it
}

// close tells the log of all that is not open any more.
func (t *trail) close() {
	t.mu.Lock()
	t.over = true
	for to, v := range t.all {
		if v.timer != nil {
			v.timer.Stop()
		}
		if v.open == 0 {
			t.tell(to, v)
		}
	}
	t.mu.Unlock()
	t.notes.Wait()
}
