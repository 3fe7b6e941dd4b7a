package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"walt/auth"
	"walt/fault"
	"walt/state"
)

// possible are the nodes that some may be sooner or later, whoever has them and whatever
// they are doing.
type possible struct {
	n       int
	retired []Name // those of them that are out of service, and may return
}

// possible looks for them.
func (l *Lab) possible(ctx context.Context, r state.Reader, user auth.Name, some Some) (p possible, err error) {
	test, err := l.ofSome(ctx, r, user, some, Set.lasting)
	if err != nil {
		return p, err
	}
	err = l.view.Read(ctx, func() {
		for _, b := range l.view.all {
			if d := b.device; d.Kind == Node && (test == nil || test(d)) {
				if p.n++; d.Retired() != nil {
					p.retired = append(p.retired, d.Name)
				}
			}
		}
	})
	return p, err
}

// census is what is possible for wishes for any nodes, looked for once for each kind of them.
type census map[string]possible

func (c census) of(ctx context.Context, l *Lab, r state.Reader, w *Wish) (p possible, err error) {
	if p, known := c[w.kind()]; known {
		return p, nil
	}
	some, err := w.some()
	if err == nil {
		p, err = l.possible(ctx, r, w.User, some)
	}
	if err == nil {
		c[w.kind()] = p
	}
	return p, err
}

// count is how many nodes there are that are wanted, whoever has them.
func (l *Lab) count(ctx context.Context, wanted func(*Device) bool) (int, error) {
	return read(ctx, l.view, func() int {
		return len(l.view.which(func(d *Device) bool { return d.Kind == Node && wanted(d) }))
	})
}

// tooFewAtAll is the fault for who wants more nodes than there are.
func tooFewAtAll(n int, some Some) *fault.Error {
	are, there := "are", fmt.Sprintf("there are %d", n)
	if some.N == 1 {
		are = "is"
	}
	switch n {
	case 0:
		there = "there is none"
	case 1:
		there = "there is 1"
	}
	f := fault.Failedf("%d %s %s wanted, and %s; nothing changed", some.N, some.words(), are, there)
	if some.Set.ofOwners() {
		return f.WithHint("--any gives free nodes, which are nobody's; see who has which with: node show --all")
	}
	return f.WithHint("see all nodes with: node show --all")
}

// lasting returns what tells whether the set may come to stand for a node that is free by
// then, whoever has it and whatever it is doing at the moment.
func (s Set) lasting(from source, user auth.Name) (func(*Device) bool, error) {
	f := newFinder(from, user, nodeScope)
	var tests []func(*Device) bool
	for _, words := range s.any {
		words = slices.Clone(words)
		for i, w := range words {
			switch {
			case w.ofOwner(): // it is nobody's then
				words[i] = word{not: !w.not, text: "all-nodes"}
			case w == word{not: w.not, text: freeNodes}:
				words[i].text = "all-nodes"
			}
		}
		test, _, err := f.tests(words)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return func(d *Device) bool {
		return slices.ContainsFunc(tests, func(test func(*Device) bool) bool { return test(d) })
	}, f.fault()
}

// endHopeless ends the wishes that cannot be met any more, as there are fewer such nodes in
// the lab than they want, whoever has these. Those out of service count: they may return.
func (l *Lab) endHopeless(ctx context.Context) error {
	type lack struct {
		Wish
		why error
	}
	lacking, err := state.Read(ctx, l.Store, func(r state.Reader) (lacking []lack, err error) {
		ws, err := wishes.All(r, "")
		if err != nil {
			return nil, err
		}
		all := census{}
		for _, w := range ws {
			if w.N == 0 || w.granted() {
				continue
			}
			there, err := all.of(ctx, l, r, &w)
			switch {
			case fault.As(err) != nil: // which ends it in its turn
			case err != nil:
				return nil, err
			case there.n < w.N:
				some, err := w.some()
				if err != nil {
					return nil, err
				}
				lacking = append(lacking, lack{w, noLonger(tooFewAtAll(there.n, some))})
			}
		}
		return lacking, nil
	})
	for _, w := range lacking {
		err = errors.Join(err, l.end(ctx, &w.Wish, w.why))
	}
	return err
}

// noLonger is what somebody is told whose wish ends by a fault.
func noLonger(f *fault.Error) *fault.Error {
	ended := *f
	ended.Msg = "no longer waiting: " + f.Msg
	return &ended
}

// lacks returns the nodes that are out of service and without which a wish cannot be met.
func (l *Lab) lacks(ctx context.Context, r state.Reader, w *Wish, all census) (retired []Name) {
	if w.N > 0 {
		if p, err := all.of(ctx, l, r, w); err == nil && p.n-len(p.retired) < w.N {
			return p.retired
		}
		return nil
	}
	ds, _ := withMACs(r, w.Nodes) // of what cannot be read the turns tell
	for _, d := range ds {
		if d.Retired() != nil && d.Owner() != w.User {
			retired = append(retired, d.Name)
		}
	}
	return retired
}
