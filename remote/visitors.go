package remote

import (
	"context"
	"slices"
	"sync"

	"walt/auth"
)

// Visitors is who is on which node now, so that they can be sent away. The zero
// value is ready.
type Visitors struct {
	mu sync.Mutex
	on map[string]map[*visitor]struct{} // by name of the node
}

type visitor struct {
	user    auth.Name
	end     context.CancelCauseFunc
	remains bool // see Remain
}

// Enter notes that the user is on the node until leave is called. The context
// ends with the cause of Evict when somebody else gets the node before.
func (v *Visitors) Enter(ctx context.Context, node string, user auth.Name) (_ context.Context, leave func()) {
	return v.enter(ctx, node, &visitor{user: user})
}

// Remain is Enter for one who is there also while the node is down.
func (v *Visitors) Remain(ctx context.Context, node string, user auth.Name) (_ context.Context, leave func()) {
	return v.enter(ctx, node, &visitor{user: user, remains: true})
}

func (v *Visitors) enter(ctx context.Context, node string, me *visitor) (_ context.Context, leave func()) {
	ctx, end := context.WithCancelCause(ctx)
	me.end = end
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.on == nil {
		v.on = map[string]map[*visitor]struct{}{}
	}
	if v.on[node] == nil {
		v.on[node] = map[*visitor]struct{}{}
	}
	v.on[node][me] = struct{}{}
	return ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		end(nil)
		delete(v.on[node], me)
		if len(v.on[node]) == 0 {
			delete(v.on, node)
		}
	}
}

// Any reports whether somebody is on the node.
func (v *Visitors) Any(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.on[node]) > 0
}

// Users returns who is on the node, each once.
func (v *Visitors) Users(node string) (all []auth.Name) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for who := range v.on[node] {
		all = append(all, who.user)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Present returns what ends the sessions of all who are on the node now and do not Remain,
// and of nobody who comes later; nil when nobody is.
func (v *Visitors) Present(node string) (end func(cause error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []*visitor
	for who := range v.on[node] {
		if !who.remains {
			all = append(all, who)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return func(cause error) {
		for _, who := range all {
			who.end(cause)
		}
	}
}

// Evict ends the sessions on the node of everybody but one user, "" for nobody.
func (v *Visitors) Evict(node string, but auth.Name, cause error) {
	v.Dismiss(node, func(user auth.Name) bool { return user == but }, cause)
}

// Dismiss ends the sessions on the node of everybody who does not stay.
func (v *Visitors) Dismiss(node string, stays func(auth.Name) bool, cause error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for who := range v.on[node] {
		if !stays(who.user) {
			who.end(cause)
		}
	}
}
