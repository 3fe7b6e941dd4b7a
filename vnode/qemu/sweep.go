package qemu

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"walt/ethernet"
	"walt/nodes"
)

// stopLeftover cuts the power of the machine of a node that an earlier server left.
func (h *Hypervisor) stopLeftover(n nodes.Name) {
	found, err := h.Lab.Named(context.Background(), []nodes.Name{n})
	if err != nil {
		h.Log.Error("look for the machine of a node", "node", n, "err", err)
	}
	for _, d := range found {
		if _, err := end(h.place(d.MAC)); err != nil {
			h.Log.Error("end the machine of a node", "node", n, "err", err)
		}
	}
}

// Left reports whether a machine runs that an earlier server left.
func (h *Hypervisor) Left() bool {
	dirs, err := os.ReadDir(h.Dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(dirs, func(d fs.DirEntry) bool { return process(filepath.Join(h.Dir, d.Name())) != nil })
}

// Sweep takes away what is left of nodes that are gone, their machines too if an end
// of the server let them go on.
func (h *Hypervisor) Sweep(ctx context.Context) {
	if err := h.sweep(ctx); err != nil && ctx.Err() == nil {
		h.Log.Error("look for machines of nodes that are gone", "err", err)
	}
}

func (h *Hypervisor) sweep(ctx context.Context) error {
	dirs, err := os.ReadDir(h.Dir) // before: a node that comes meanwhile is known
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := h.Lab.AllDevices(ctx)
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for d := range all.Found() {
		here[folder(d.MAC)] = d.Host == nodes.QEMU
	}
	var failed error // one that does not end keeps no other
	for _, d := range dirs {
		if here[d.Name()] {
			continue
		}
		mac, err := ethernet.ParseMAC(d.Name())
		if err != nil {
			continue // it is nothing of ours
		}
		dir := filepath.Join(h.Dir, d.Name())
		if err := clear(dir); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if err := errors.Join(os.RemoveAll(dir), h.Boots.Forget(ctx, mac)); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}
