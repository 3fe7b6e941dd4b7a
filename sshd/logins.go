package sshd

import (
	"net/netip"
	"slices"
	"time"

	"walt/auth"
)

const (
	maxLogins     = 1000 // connections that nobody has logged in on yet
	maxLoginsFrom = 64   // of those, the ones of an address that are served at once; the others wait
)

// logins are the connections that nobody has logged in on yet. They have a
// bound of their own, so that they take no place of those who are logged in;
// beyond it the address that has most of them loses one.
type logins struct {
	all    []*conn            // in the order of their coming
	served map[netip.Addr]int // how many of them are served, by network
	told   time.Time          // when it was logged last that there are too many
}

// add begins with a connection. The one that must go for it, if any, is
// returned, to be closed.
func (l *logins) add(c *conn) (victim *conn) {
	if len(l.all) >= maxLogins {
		victim = l.victim()
		l.remove(victim)
	}
	l.all = append(l.all, c)
	l.serve(c)
	return victim
}

// serve tells a connection that it is its turn, unless its address has enough
// of them.
func (l *logins) serve(c *conn) {
	from := network(c.from)
	if c.served || l.served[from] >= maxLoginsFrom {
		return
	}
	l.served[from]++
	c.served = true
	close(c.turn)
}

// remove ends with a connection: somebody logged in on it, or it is closed. The
// next of the address has its turn.
func (l *logins) remove(c *conn) {
	i := slices.Index(l.all, c)
	if i < 0 {
		return
	}
	l.all = slices.Delete(l.all, i, i+1)
	if !c.served {
		return
	}
	from := network(c.from)
	if l.served[from]--; l.served[from] == 0 {
		delete(l.served, from)
	}
	for _, next := range l.all {
		if !next.served && network(next.from) == from {
			l.serve(next)
			return
		}
	}
}

// victim is the oldest connection of the address that has most of them; one
// that nothing was heard of goes before others.
func (l *logins) victim() *conn {
	count, most := map[netip.Addr]int{}, 0
	for _, c := range l.all {
		count[network(c.from)]++
		most = max(most, count[network(c.from)])
	}
	var oldest *conn
	for _, c := range l.all {
		if count[network(c.from)] < most {
			continue
		}
		if c.served && !c.heard.Load() {
			return c
		}
		if oldest == nil {
			oldest = c
		}
	}
	return oldest
}

// places are the connections that somebody is logged in on.
type places struct {
	taken   int
	takenBy map[auth.Name]int
}

// take takes one of most places for a user, or says why there is none. Nobody
// has more than half of them, and the last twentieth is for administrators.
func (p *places) take(login auth.Login, most int) (refusal string) {
	free := most - p.taken
	if !login.Admin {
		free -= most / 20
	}
	switch {
	case p.takenBy[login.User] >= (most+1)/2:
		return "you have too many connections open: close some"
	case free <= 0:
		return "the server has too many connections: try again later"
	}
	p.taken++
	p.takenBy[login.User]++
	return ""
}

// leave gives the place of a user back.
func (p *places) leave(user auth.Name) {
	p.taken--
	if p.takenBy[user]--; p.takenBy[user] == 0 {
		delete(p.takenBy, user)
	}
}
