package nodes

import (
	"iter"
	"slices"
	"sync"
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
type byReadiness [unreachable + 1]parts

// pool is the free nodes that are in service by their readiness, kept as nodes change and
// as they are heard of, so that who wants any looks at few. It does not know which nodes have a port
// that the server may work: those are untold here.
//
// The view and the board tell it, each while it is locked, and are not asked.
type pool struct {
	mu    sync.Mutex
	doing map[Name]State // of all devices, unless off
	free  map[Name]*Device
	by    byReadiness
	gains func() // is called when there may be more than before, and after remade
	// remade counts when there may be fewer nodes than before, or others that a set stands for.
	remade int
}

func newPool(gains func()) *pool {
	return &pool{doing: map[Name]State{}, free: map[Name]*Device{}, gains: gains}
}

func (p *pool) readiness(d *Device) readiness {
	switch p.doing[d.Name] {
	case Up:
		return ready
	case Unreachable:
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
	if d != nil {
		p.gains()
	}
}

// replace follows one device; nil is for none.
func (p *pool) replace(was, is *Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was != nil {
		p.remove(p.free[was.Name])
		delete(p.free, was.Name)
	}
	if is != nil && is.available() {
		p.free[is.Name] = is
		p.add(is)
		p.gains()
	}
	if was != nil && (is == nil || !was.counts(is)) {
		p.remade++
		p.gains()
	}
}

// fill has it hold these and no others.
func (p *pool) fill(free []*Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = make(map[Name]*Device, len(free))
	var sorted [len(p.by)][]*Device
	for _, d := range slices.SortedFunc(slices.Values(free), longestAgo) {
		if !d.available() {
			continue
		}
		p.free[d.Name] = d
		how := p.readiness(d)
		sorted[how] = append(sorted[how], d)
	}
	p.remade++
	p.gains()
	for how, ds := range sorted {
		p.by[how] = partsOf(ds)
	}
}

// counts reports whether who wants nodes may count on a device as on what it was.
func (d *Device) counts(was *Device) bool {
	return d.Kind == was.Kind && d.Model == was.Model && slices.Equal(d.Tags(), was.Tags()) && (d.Retired() == nil) == (was.Retired() == nil)
}

// remakes returns how often there came to be other nodes.
func (p *pool) remakes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remade
}

func (p *pool) add(d *Device) {
	if d != nil {
		how := p.readiness(d)
		p.by[how] = p.by[how].with(d)
	}
}

func (p *pool) remove(d *Device) {
	if d != nil {
		how := p.readiness(d)
		p.by[how] = p.by[how].without(d)
	}
}

// list returns all of them, as they are now.
func (p *pool) list() byReadiness {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.by
}

// parts are free nodes, those first that were used the longest ago. No part is ever
// changed, but replaced: who has them keeps what was there, and many cost no more.
type parts [][]*Device

// partSize is how many a part has at first; twice as many are made two.
const partSize = 256

// partsOf makes them of nodes in their order.
func partsOf(ds []*Device) parts { return slices.Collect(slices.Chunk(ds, partSize)) }

// place is which part a node is in, or belongs into; len(p) when it is behind all.
func (p parts) place(d *Device) int {
	i, _ := slices.BinarySearchFunc(p, d, func(part []*Device, d *Device) int { return longestAgo(part[len(part)-1], d) })
	return i
}

func (p parts) with(d *Device) parts {
	if len(p) == 0 {
		return parts{{d}}
	}
	i := min(p.place(d), len(p)-1)
	part := with(slices.Clone(p[i]), d, longestAgo)
	if len(part) < 2*partSize {
		return slices.Concat(p[:i], parts{part}, p[i+1:])
	}
	return slices.Concat(p[:i], parts{part[:partSize], part[partSize:]}, p[i+1:])
}

func (p parts) without(d *Device) parts {
	i := p.place(d)
	if i == len(p) {
		return p
	}
	part := without(slices.Clone(p[i]), d, longestAgo)
	if len(part) == 0 {
		return slices.Concat(p[:i], p[i+1:])
	}
	return slices.Concat(p[:i], parts{part}, p[i+1:])
}

// which returns those that are wanted, or all when that is nil.
func (p parts) which(wanted func(*Device) bool) iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		for _, part := range p {
			for _, d := range part {
				if (wanted == nil || wanted(d)) && !yield(d) {
					return
				}
			}
		}
	}
}
