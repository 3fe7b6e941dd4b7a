package nodes

import (
	"sync"
	"time"

	"walt/power"
)

// State is what a node is doing.
type State string

const (
	Off         State = "off"         // without power, or never heard of
	Booting     State = "booting"     // asked what to boot, and is not up yet
	Up          State = "up"          // reported that it runs
	Unreachable State = "unreachable" // should be up, and does not answer, or could not boot
	Powersave   State = "powersave"   // without power, since nobody needs it
)

// States lists the states that nodes can be in.
func States() []State { return []State{Off, Booting, Up, Unreachable, Powersave} }

// unasked is the state of a switch that the server had nothing to ask yet.
const unasked State = "not asked yet"

// Status is what the server heard of a node since it started.
type Status struct {
	State  State
	Addr   string    // host:port of its SSH server, "" unless up, unreachable or Stopped
	Failed bool      // it is unreachable since it could not boot, or not run on; it is started again in its boot.timeout
	Heard  time.Time // when the state last changed, zero if never
	Why    string    // it is in its state, in words for users; "" when there is nothing to say

	Step      Step      // the last that its last boot reached, "" when that is not known, or it is off
	StepSince time.Time // when it did
	Preparing bool      // the server makes ready what it boots
	Written   int64     // bytes that a machine wrote since its boot, as it last told
	Room      int64     // bytes that it may write; 0 when that is not known
	runs      string    // digest of what runs there, "" when that is not known

	alone time.Time // when its agent, which is gone, was heard last; zero when it is there, or there is none
	Off   power.Off // that a user wants it off; the zero Off if nobody does

	came  time.Time // when it came up in this boot; zero when it did not
	hasty int       // how often in a row it rebooted by itself soon after it was up

	seen   bool      // it was up since the server started
	took   string    // digest of the image that it took at its last start, "" when it did not come that far
	cause  cause     // that it is started anew; zero when nobody is known to make it
	began  time.Time // when it began to boot, zero when it is not known to
	untold bool      // it may turn out that it did not change: the log waits

	queued bool // it waits for its turn to start

	due   bool      // it was told to start, and has not asked yet what to boot
	asked bool      // it was asked to, and its power is not cut
	late  time.Time // when a boot takes too long; zero when none is expected to end
	taken int64     // bytes that it had taken when it was last late, see Agents
	tries int       // how often its power was cut because of that, or it started over by itself
	again bool      // it asked for its address once more before it loaded its kernel: some loaders do
	spent bool      // so often that it is left alone
}

// board is the status of all nodes, and lets others wait for a change of it.
type board struct {
	now  func() time.Time
	pool *pool // is told the state of each

	mu      sync.Mutex
	all     map[Name]*Status
	changed chan struct{} // closed and replaced at every change

	up    map[Name]bool // those that are, as far as the log tells
	edges []edge        // that the log is to tell
	edged chan struct{} // receives after there are some
	flaps map[Name]flap // of nodes that came up or went down lately
	fails map[Name]flap // of nodes that failed to start

	trails map[Name]*trail // of the last boots of those that were heard of in them

	expected map[Name]cause // of nodes that are just being switched off
}

func newBoard(now func() time.Time, p *pool) *board {
	return &board{
		now: now, pool: p, all: map[Name]*Status{}, changed: make(chan struct{}),
		up: map[Name]bool{}, edged: make(chan struct{}, 1), flaps: map[Name]flap{}, fails: map[Name]flap{}, expected: map[Name]cause{},
		trails: map[Name]*trail{},
	}
}

func (b *board) of(n Name) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.all[n]; s != nil {
		return *s
	}
	return Status{State: Off}
}

// each returns what each of the devices is doing.
func (b *board) each(all []*Device) []Status {
	doing := make([]Status, len(all))
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, d := range all {
		doing[i] = Status{State: Off}
		if s := b.all[d.Name]; s != nil {
			doing[i] = *s
		}
	}
	return doing
}

// fill adds what devices are doing.
func (b *board) fill(all []DeviceStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range all {
		d := &all[i]
		if s := b.all[d.Name]; s != nil {
			d.Status = *s
		} else {
			d.State = Off
		}
	}
}

// is makes s that of a node which was heard of.
func (s *Status) is(in State, addr string) {
	s.State, s.Addr, s.Why, s.due, s.untold = in, addr, "", false, false
	if in == Up {
		s.runs, s.alone, s.spent = s.took, time.Time{}, false
		s.late, s.tries, s.began, s.cause, s.seen = time.Time{}, 0, time.Time{}, cause{}, true
	}
}

// change changes the status of a node, unless f leaves it as it is.
func (b *board) change(n Name, f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.all[n]
	s := Status{State: Off}
	if known != nil {
		s = *known
	}
	before := s
	f(&s)
	s.Failed = s.Failed && s.State == Unreachable
	b.keepStep(n, before, &s)
	if s == before && known != nil {
		return
	}
	s.Heard = b.now().UTC()
	b.all[n] = &s
	if s.State != before.State {
		b.pool.heard(n, s.State)
	}
	b.note(n, before, s)
	b.wake()
}

// keepStep has a node that boots, or is up, be at a step, and notes that it reached it.
func (b *board) keepStep(n Name, before Status, s *Status) {
	switch {
	case s.State == Up:
		s.Step = StepUp
	case s.State == Booting && s.Step == "":
		s.Step = StepNone
	}
	s.Preparing = s.Preparing && s.State == Booting
	switch {
	case s.Step == "":
		s.StepSince = time.Time{}
	case s.Step != before.Step || s.StepSince.IsZero():
		s.StepSince = b.now().UTC()
		if t := b.trails[n]; t != nil {
			t.reach(s.Step, s.StepSince)
		}
	}
}

func (b *board) forget(n Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, n)
	b.pool.heard(n, Off)
	delete(b.up, n)
	delete(b.flaps, n)
	delete(b.fails, n)
	delete(b.trails, n)
	b.wake()
}

func (b *board) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// next is closed at the next change.
func (b *board) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}
