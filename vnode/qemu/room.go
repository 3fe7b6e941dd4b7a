package qemu

import "walt/nodes"

// enter notes what a machine takes from now on, until exit. It fails when there is no
// room for it beside those that run, unless it runs, too.
func (h *Hypervisor) enter(l *life, n nodes.Name, s Spec, runs bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	others, taken := 0, 0
	for _, other := range h.nodes {
		if other != l && other.takes > 0 {
			others, taken = others+1, taken+other.takes
		}
	}
	takes := int(s.Memory >> 20)
	if !runs {
		d := nodes.Device{Name: n, Own: &nodes.Settings{RAM: takes, Cores: s.CPUs}}
		if err := h.Lab.Limits().Check(others, taken, d); err != nil {
			return err
		}
	}
	l.takes = takes
	return nil
}

func (h *Hypervisor) exit(l *life) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.takes = 0
}
