package driver

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"walt/fault"
)

// Driver is one that the server's file declares.
type Driver struct {
	Name string
	// Hosted says that outlets name the host of their device, Ported whether they name a port.
	Hosted bool
	Ported Need
	// Numbered says that ports are numbers, Usual which of them is meant where none is named.
	Numbered bool
	Usual    string
	// Realm and Host tell drivers that lead to the same outlets, by the same ports: they have
	// the same realm, and their devices the same host. Host is "" where outlets name it, Realm
	// of a driver that is alone with what it leads to.
	Realm, Host string
	Timeout     time.Duration // of one request; 0 is 10 s
	Means       Means
}

// Need says whether outlets of a driver name a port.
type Need int

// They must, may, or must not.
const (
	Must Need = iota
	May
	Never
)

// Drivers are those of one lab.
type Drivers struct {
	stagger stagger
	turns   turns

	mu     sync.Mutex
	all    map[string]*opened
	server Supply // the server's own outlets
}

// opened is a driver that is closed when the last request to it has ended.
type opened struct {
	Driver
	uses   int
	closed bool // it is not to be used any more
}

// New returns drivers without any; Set has some.
func New() *Drivers {
	return &Drivers{turns: turns{held: map[Outlet]*turn{}}, all: map[string]*opened{}}
}

// Set has the drivers be these from now on, and server be the outlets that feed the
// server itself, which are never switched off. Requests that are under way end with those that were before.
func (d *Drivers) Set(all []Driver, server Supply) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, o := range d.all {
		if o.closed = true; o.uses == 0 {
			errs = append(errs, o.Means.Close())
		}
	}
	d.all = map[string]*opened{}
	for _, one := range all {
		d.all[one.Name] = &opened{Driver: one}
	}
	d.server = d.canonical(server)
	return errors.Join(errs...)
}

// Beginnings returns what the outlets of each driver begin with, as in "rack1:" and "bmc@", in
// order.
func (d *Drivers) Beginnings() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(d.all)) {
		switch is := d.all[name]; {
		case is.Hosted:
			name += "@"
		case is.Ported != Never:
			name += ":"
		}
		all = append(all, name)
	}
	return all
}

// use returns a driver, and what is to be called when the request has ended.
func (d *Drivers) use(name string) (*opened, func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.all[name]
	if o == nil {
		return nil, nil, d.unknown(name)
	}
	o.uses++
	return o, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if o.uses--; o.uses == 0 && o.closed {
			o.Means.Close() // nobody is left to be told
		}
	}, nil
}

// unknown is the fault for a driver that the server's file does not have. d.mu is held.
func (d *Drivers) unknown(name string) error {
	f := fault.Failedf("no power driver %s in the server's file", name)
	if len(d.all) == 0 {
		return f.WithHint("an administrator declares it there, as [[power.driver]]")
	}
	names := slices.Sorted(maps.Keys(d.all))
	if near := fault.Nearest(name, names); len(near) > 0 {
		return f.WithHint("did you mean %s?", near[0])
	}
	return f.WithHint("drivers that it declares: %s", strings.Join(names, ", "))
}

// Canonical is how outlets are written that people write in several ways, so that two of them
// are the same if they are written the same.
func (d *Drivers) Canonical(s Supply) Supply {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.canonical(s)
}

// canonical is Canonical. d.mu is held.
func (d *Drivers) canonical(s Supply) Supply {
	s = slices.Clone(s)
	for i := range s {
		have := d.all[s[i].Driver]
		if have == nil || !have.Numbered {
			continue
		}
		if s[i].Port = number(s[i].Port); s[i].Port == have.Usual {
			s[i].Port = ""
		}
	}
	return s
}

// Aliases returns what else an outlet is called, by other drivers of the same devices.
func (d *Drivers) Aliases(o Outlet) Supply {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.aliases(o)
}

// aliases is Aliases. d.mu is held.
func (d *Drivers) aliases(o Outlet) (all Supply) {
	have := d.all[o.Driver]
	if have == nil || have.Realm == "" {
		return nil
	}
	host := cmp.Or(o.Host, have.Host)
	for _, other := range d.all {
		switch {
		case other == have || other.Realm != have.Realm:
		case other.Hosted:
			all = append(all, Outlet{other.Name, host, o.Port})
		case other.Host == host:
			all = append(all, Outlet{other.Name, "", o.Port})
		}
	}
	return all
}

// isOne reports whether two outlets are the same. d.mu is held.
func (d *Drivers) isOne(o, as Outlet) bool { return o == as || slices.Contains(d.aliases(o), as) }

// Check returns a fault unless the outlets are those of drivers that there are, in the
// form that these and their devices want, each is told once, and none feeds the server.
func (d *Drivers) Check(s Supply) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, o := range s {
		have := d.all[o.Driver]
		switch {
		case have == nil:
			return d.unknown(o.Driver)
		case d.feedsServer(o):
			return ownFault(o)
		case isNoHost(o.Host):
			return fault.Usagef("%s: %s is no address of a host", o, o.Host).WithHint("write it as 10.9.0.2 or [fd00::2], or by name")
		case !have.Hosted && o.Host != "":
			return form(o, have.Driver, "%s names a host, and driver %s does not take one from nodes", o, o.Driver)
		case have.Hosted && o.Host == "":
			return form(o, have.Driver, "%s does not say which host that is", o)
		case have.Ported == Never && o.Port != "":
			return form(o, have.Driver, "devices of %s have no ports", o.Driver)
		case have.Ported == Must && o.Port == "":
			return form(o, have.Driver, "%s does not say which port that is", o)
		}
		if p, is := have.Means.(Porter); is && o.Port != "" {
			if err := p.CheckPort(o.Port); err != nil {
				return err
			}
		}
		for _, before := range s[:i] {
			if d.isOne(o, before) {
				return fault.Usagef("%s and %s are one outlet", before, o).WithHint("name each outlet once")
			}
		}
	}
	return nil
}

// form is the fault for an outlet that is written as its driver cannot have it. It tells how
// those of the driver are written.
func form(o Outlet, of Driver, format string, args ...any) error {
	if of.Hosted && o.Host == "" {
		host, port, _ := strings.Cut(o.Port, ":")
		_, noAddress := netip.ParseAddr(host)
		if _, noNumber := strconv.Atoi(host); noAddress == nil || noNumber != nil && of.Ported != Must {
			o.Host, o.Port = host, port // which was written with a colon
		}
	}
	as := o.Driver
	if of.Hosted {
		as += "@" + cmp.Or(o.Host, "HOST")
	}
	switch {
	case of.Ported == Must:
		as += ":" + cmp.Or(o.Port, "PORT")
	case of.Ported != Never && o.Port != "":
		as += ":" + o.Port
	}
	return fault.Usagef(format, args...).WithHint("write it as %s (see: help show power)", as)
}

// ownFault is the fault for an outlet of the server.
func ownFault(o Outlet) error {
	return fault.Failedf("%s feeds the server itself", o).WithHint("an administrator says so in [power] server of the server's file")
}

// isOwn reports whether an outlet feeds the server.
func (d *Drivers) isOwn(o Outlet) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.feedsServer(o)
}

// feedsServer is isOwn. d.mu is held.
func (d *Drivers) feedsServer(o Outlet) bool {
	return slices.ContainsFunc(d.server, func(own Outlet) bool { return d.isOne(o, own) })
}
