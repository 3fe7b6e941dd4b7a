package power

import (
	"sync"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/state"
)

// Contact is how the server last reached a switch.
type Contact struct {
	Address string    // of its SNMP agent, "" if none is set
	Heard   time.Time // when it last began, or ceased, to answer; zero when it was not asked since the server started
	Why     string    // it does not answer, "" if it does
}

// Contact returns what is known of a switch; the zero Contact of anything else.
func (p *Ports) Contact(r state.Reader, sw ethernet.MAC) (Contact, error) {
	settings, err := p.Settings(r, sw)
	c := p.contacts.of(sw)
	c.Address = settings.Address
	return c, err
}

// contacts are those with all switches.
type contacts struct {
	now func() time.Time

	mu  sync.Mutex
	all map[ethernet.MAC]Contact
}

func newContacts(now func() time.Time) *contacts {
	return &contacts{now: now, all: map[ethernet.MAC]Contact{}}
}

func (c *contacts) of(sw ethernet.MAC) Contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[sw]
}

// note keeps whether a switch answered.
func (c *contacts) note(sw ethernet.MAC, err error) {
	why := ""
	if err != nil {
		why = fault.Reason(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, known := c.all[sw]; !known || before.Why != why {
		c.all[sw] = Contact{Heard: c.now().UTC(), Why: why}
	}
}
