package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"walt/fault"
	"walt/netboot"
	"walt/nodes"
)

// life is the time for which one node is on, over reboots that it does by itself.
type life struct {
	again atomic.Bool            // the next one follows at once
	leave atomic.Bool            // the machine goes on without us
	end   context.CancelFunc     // cuts the power, unless leave
	off   chan struct{}          // closed when it is over
	line  atomic.Pointer[serial] // nil until the machine runs

	takes int // MiB of memory while the machine runs; guarded by the hypervisor's mu
}

// begin begins a life, which waits for the one before it.
func (h *Hypervisor) begin(n nodes.Name) (context.Context, *life, *life, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.beginLocked(n)
}

func (h *Hypervisor) beginLocked(n nodes.Name) (_ context.Context, l, before *life, err error) {
	if h.closed {
		return nil, nil, nil, fault.Failedf("the server is stopping")
	}
	ctx, end := context.WithCancel(context.Background())
	l = &life{end: end, off: make(chan struct{})}
	before = h.nodes[n]
	h.nodes[n] = l
	h.lives.Add(1)
	return ctx, l, before, nil
}

// live runs a node, with a new machine after each reboot that it does by itself,
// until its power is cut or it switches itself off. The first one runs already if found.
func (h *Hypervisor) live(ctx context.Context, l *life, n nodes.Name, found bool) {
	for ; ; found = false {
		end, err := h.run(ctx, l, n, found)
		switch {
		case l.leave.Load():
			return
		case ctx.Err() != nil:
			h.Lab.Down(n, l.again.Load(), cutWords(err))
			return
		case err != nil:
			h.Lab.Failed(n, h.full(n, err))
			return
		case end.crashed:
			if !h.Lab.Crashed(n, end.why) {
				return
			}
		default:
			h.Lab.Down(n, end.again, end.why)
			end.again = end.again || h.Lab.ToStart(n) // it was asked to reboot, and shut down
		}
		if !end.again {
			return
		}
	}
}

// full is the error of a machine that does not run, in words for users when there is no
// room for its files.
func (h *Hypervisor) full(n nodes.Name, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	if !h.noRoom.Swap(true) { // that is so for all of them
		h.Log.Error("make the files of a machine; others that have no room are not told until one starts", "node", n, "err", err)
	}
	return fault.Failedf("the disk for machines of this server is full").WithHint("an administrator must make room on it")
}

// cutWords are for users, of a machine whose power the server cut, with what came of that.
func cutWords(err error) string {
	const cut = "the server cut its power"
	if s, is := errors.AsType[stuck](err); is {
		return cut + "; " + s.Error()
	}
	return cut
}

// run is a machine from power on to power off, or what is left of that if it is found
// running. It returns why it ended.
func (h *Hypervisor) run(ctx context.Context, l *life, n nodes.Name, found bool) (end ending, err error) {
	l.line.Store(nil) // what it says from here on is of another boot
	var m *Machine
	defer func() { // whatever is wrong, no machine runs that nobody looks after
		switch {
		case m == nil || err == nil:
		case l.leave.Load():
			m.Leave()
		default:
			err = errors.Join(err, m.Kill())
		}
	}()
	who, spec, err := h.describe(ctx, n, found)
	if err != nil {
		return end, err
	}
	defer func() {
		if !l.leave.Load() {
			h.Boots.Over(who.IP)
		}
	}()
	if err := h.enter(l, n, spec, found); err != nil {
		return end, err
	}
	defer h.exit(l)
	dir := h.place(spec.MAC)
	if found {
		m, err = h.takeOver(ctx, l, dir, spec.MAC)
		switch {
		case errors.Is(err, os.ErrNotExist): // it ended just now
			return ending{again: true, why: powerCut}, nil
		case err != nil && ctx.Err() == nil:
			h.Log.Warn("a machine that runs is started anew", "node", n, "err", err)
			return ending{again: true, why: unanswered}, nil
		case err != nil:
			return end, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return end, err
	}
	if err := h.reachable(); err != nil {
		return end, err
	}
	if !found {
		if err := h.endUnseen(dir, n); err != nil {
			return end, err
		}
	}
	cable, err := h.Network.Connect(ctx, who, dir, found)
	if errors.Is(err, errCut) && !l.leave.Load() {
		h.Log.Warn("a machine that runs is started anew", "node", n, "err", err)
		return ending{again: true, why: unconnected}, m.Kill()
	}
	if err != nil {
		return end, err
	}
	defer cable.Close()
	if spec.Tap = cable.Tap; !found {
		if m, err = h.boot(ctx, who, spec, dir); err != nil {
			return end, err
		}
		h.noRoom.Store(false)
	}
	line, err := listen(dir, m.monitor, h.Lines.Of(spec.MAC), h.Log.With("node", n))
	if err != nil {
		return end, fmt.Errorf("listen to the serial line: %w", err)
	}
	l.line.Store(line)
	defer line.close()
	select {
	case <-m.Gone():
		<-m.monitor.gone // as it ended, all that it said and wrote is there
		<-line.done
		return endingOf(m.monitor.ended(), m.complaint(), line.end()), nil
	case <-ctx.Done():
		return end, ctx.Err()
	}
}

// endUnseen ends a machine that runs in a directory though none should: it would have the
// connection to the network that the next one gets.
func (h *Hypervisor) endUnseen(dir string, n nodes.Name) error {
	was, err := end(dir)
	if was && err == nil {
		h.Log.Warn("a machine that ran unseen was ended: its node starts anew", "node", n)
	}
	return err
}

// boot starts the machine of a node with what it is to boot now.
func (h *Hypervisor) boot(ctx context.Context, who netboot.Machine, spec Spec, dir string) (*Machine, error) {
	e, err := h.emulator.find()
	if err != nil {
		return nil, fault.Failedf("this server cannot run machines: %v", err)
	}
	who.Params = "console=ttyS0 quiet panic=1"
	if !e.KVM { // they cost much where they protect nothing
		who.Params += " mitigations=off nokaslr"
	}
	b, err := h.Boots.Prepare(ctx, who)
	if err != nil {
		return nil, err
	}
	spec.Kernel, spec.Initrd, spec.CommandLine = b.Kernel, b.Initrd, b.CommandLine
	if err := setAside(dir); err != nil {
		return nil, err
	}
	m, err := e.start(ctx, dir, spec)
	if err != nil && ctx.Err() == nil {
		h.emulator.doubt()
	}
	return m, err
}
