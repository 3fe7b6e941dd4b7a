package qemu

import (
	"context"
	"errors"

	"walt/ethernet"
	"walt/nodes"
)

// Resume goes on with the machine of a node that runs since before the server
// started. It reports whether there is one, or one that was started meanwhile.
func (h *Hypervisor) Resume(ctx context.Context, n nodes.Name) bool {
	found, err := h.resume(ctx, n)
	if err != nil {
		h.Log.Warn("a machine that may run is started anew", "node", n, "err", err)
	}
	return found
}

func (h *Hypervisor) resume(ctx context.Context, n nodes.Name) (bool, error) {
	who, spec, err := h.describe(ctx, n, true)
	if err != nil {
		return false, err
	}
	dir := h.place(spec.MAC)
	if process(dir) == nil {
		return false, nil
	}
	// Before its boot is known: who starts it anew meanwhile waits for the end of this
	// life, and the boot of the next one is the last one.
	living, l, err := h.beginFirst(n)
	if l == nil {
		return err == nil, err
	}
	known, err := h.Boots.Resume(ctx, who)
	if !known {
		if ctx.Err() == nil { // else it goes on
			_, hangs := end(dir)
			err = errors.Join(err, hangs)
		}
		h.drop(n, l)
		return false, err
	}
	go func() { // ends with living: Start, Stop and Close end it
		defer h.lives.Done()
		defer close(l.off)
		h.live(living, l, n, true)
	}()
	return true, nil
}

// takeOver finds the machine that runs in a directory since before the server started. One
// that does not answer is ended, unless it is left.
func (h *Hypervisor) takeOver(ctx context.Context, l *life, dir string, mac ethernet.MAC) (*Machine, error) {
	m, err := adopt(ctx, dir, mac)
	if err != nil && !l.leave.Load() {
		_, hangs := end(dir)
		err = errors.Join(err, hangs)
	}
	return m, err
}

// beginFirst begins the first life of a node; it is nil when there is one already.
func (h *Hypervisor) beginFirst(n nodes.Name) (context.Context, *life, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nodes[n] != nil {
		return nil, nil, nil
	}
	ctx, l, _, err := h.beginLocked(n)
	return ctx, l, err
}

// drop ends a life in which nothing ran.
func (h *Hypervisor) drop(n nodes.Name, l *life) {
	h.mu.Lock()
	if h.nodes[n] == l {
		delete(h.nodes, n)
	}
	h.mu.Unlock()
	l.end()
	close(l.off)
	h.lives.Done()
}
