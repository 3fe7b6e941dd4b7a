package nodes

import (
	"slices"
	"sync"

	"walt/images"
)

// readiness is how likely a node is to be of use soon.
type readiness int

const (
	ready       readiness = iota // it is up
	startable                    // it is booting, or the server can start it
	untold                       // it is off, for all that is known, and has to be switched on by hand
	unreachable                  // it should be up, and does not answer, or could not boot
)

// byReadiness are nodes, of each readiness those first that were used the longest ago.
type byReadiness [unreachable + 1][]*Device

// pool is the free nodes by their readiness, kept as nodes change and as they are
// heard of, so that who wants any looks at few. It does not know which nodes have a port
// that the server may work: those are untold here.
//
// The view and the board tell it, each while it is locked, and are not asked.
type pool struct {
	mu    sync.Mutex
	doing map[Name]State // of all devices, unless off
	free  map[Name]*Device
	by    byReadiness
}

func newPool() *pool { return &pool{doing: map[Name]State{}, free: map[Name]*Device{}} }

func (p *pool) readiness(d *Device) readiness {
	switch p.doing[d.Name] {
	case Up:
		return ready
	case Unreachable, Failed:
		return unreachable
	case Booting:
		return startable
	}
	if d.Virtual() {
		return startable
	}
	return untold
}

// heard notes what a device is doing.
func (p *pool) heard(n Name, s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.free[n]
	p.remove(d)
	if s == Off {
		delete(p.doing, n)
	} else {
		p.doing[n] = s
	}
	p.add(d)
}

// replace follows one device; nil is for none.
func (p *pool) replace(was, is *Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was != nil {
		p.remove(p.free[was.Name])
		delete(p.free, was.Name)
	}
	if is != nil && is.Kind == Node && is.Free() {
		p.free[is.Name] = is
		p.add(is)
	}
}

// fill has it hold these and no others.
func (p *pool) fill(free []*Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free, p.by = make(map[Name]*Device, len(free)), byReadiness{}
	for _, d := range slices.SortedFunc(slices.Values(free), longestAgo) {
		p.free[d.Name] = d
		how := p.readiness(d)
		p.by[how] = append(p.by[how], d)
	}
}

func (p *pool) add(d *Device) {
	if d != nil {
		how := p.readiness(d)
		p.by[how] = with(p.by[how], d, longestAgo)
	}
}

func (p *pool) remove(d *Device) {
	if d != nil {
		how := p.readiness(d)
		p.by[how] = without(p.by[how], d, longestAgo)
	}
}

// list returns the nodes of a model, or all when it is "".
func (p *pool) list(model images.Model) (by byReadiness) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for how, ds := range p.by {
		if model == "" {
			by[how] = slices.Clone(ds)
			continue
		}
		for _, d := range ds {
			if d.Model == model {
				by[how] = append(by[how], d)
			}
		}
	}
	return by
}
