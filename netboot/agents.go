package netboot

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"walt/fault"
	"walt/images"
	"walt/netboot/instructions"
	"walt/nodes"
	"walt/state"
)

const (
	// reportLimit is how many bytes a report may have.
	reportLimit = 64 << 10
	// firstReport is how long an agent may take to say who it is.
	firstReport = 10 * time.Second
	// silence is after how long without a report, of which they send one every 5 s, an
	// agent is gone.
	silence = 10 * time.Second
	// reports and reportsAtOnce bound what a machine has the server hear, a second.
	reports, reportsAtOnce = 10, 30
	// failedLimit is how many characters of why a boot failed are kept: the log has them.
	failedLimit = 1000
	// orderLimit is how long an agent may take to take an order.
	orderLimit = 5 * time.Second

	portSSH = 22
)

// errOver says that a machine boots anew.
var errOver = errors.New("the boot is over")

// agent is the connection of the program of ours that runs on a machine.
type agent struct {
	conn  net.Conn
	lines *bufio.Scanner
	mu    sync.Mutex // of writing
	said  instructions.Report
	model images.Model // that it says it is on, until the lab was told; of who hears it

	admits sync.Mutex // of access, and of telling it another one
	access string     // that it has, or was told to have; "": it knows no such order

	told   time.Time     // when it was told the time; of who hears it
	leds   atomic.Int64  // that it has
	deaf   atomic.Bool   // no packet wakes its network card
	once   sync.Once     // of closing ending
	ending chan struct{} // closed when it has begun to end the machine, as ordered
	gone   chan struct{} // closed when its connection has ended
}

// hear serves the connection of an agent, until it ends.
func (s *Server) hear(ctx context.Context, on Network, conn net.Conn) {
	defer conn.Close()
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return
	}
	a := &agent{conn: conn, lines: bufio.NewScanner(conn), ending: make(chan struct{}), gone: make(chan struct{})}
	defer close(a.gone)
	a.lines.Buffer(nil, reportLimit)
	var b *boot
	var heard time.Time
	for wait := firstReport; ; wait = silence {
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			break
		}
		said, err := a.read()
		if err != nil {
			break
		}
		heard = s.Now()
		now := s.at(from.Addr().Unmap(), said.Token)
		if now == nil || said.Boot != now.ID || said.Digest != now.Digest || b != nil && b != now {
			s.Complain(from.Addr(), "an agent is not of this boot")
			s.speaksOn(ctx, from.Addr().Unmap(), said.Token)
			break
		}
		if now.turn(ctx) != nil {
			break
		}
		if b == nil {
			b = now
			err := s.admit(b, a)
			if errors.Is(err, errOver) {
				break
			}
			if err != nil {
				s.Log.Error("note that an agent has come", "node", b.node(), "err", err)
				break
			}
			prod(on, b.machine.IP, said.Conns)
			a.model = boardModel(said.Board)
		}
		s.goesOn(ctx, b)
		ended, err := s.note(b, said)
		if err != nil {
			s.Log.Error("note what a machine came to", "node", b.node(), "err", err)
			break
		}
		s.heed(ctx, b, a, said)
		a.has(said.Access)
		s.readmit(ctx, b, a)
		if a.model != "" && step(said) == instructions.Up {
			if err := s.Lab.Itself(ctx, b.node(), a.model); err != nil && ctx.Err() == nil {
				s.Log.Error("note which model a board is", "node", b.node(), "err", err)
			}
			a.model = ""
		}
		if said.Ended != "" {
			s.Lab.Ended(b.node(), fmt.Sprintf("%.*s", failedLimit, nodes.Plain(said.Ended)), !ended)
		}
		if s.answer(a, said) != nil { // the connection is broken
			break
		}
	}
	if a.said.Denied {
		s.Lab.Calmed(leaseKey(b))
	}
	if b != nil && b.dismiss(a) && ctx.Err() == nil {
		s.Lab.Lost(b.node(), heard, trouble(a.said))
	}
}

// read returns the next report.
func (a *agent) read() (said instructions.Report, err error) {
	if !a.lines.Scan() {
		return said, cmp.Or(a.lines.Err(), io.EOF)
	}
	return said, json.Unmarshal(a.lines.Bytes(), &said)
}

// turn waits until a report of the machine may be heard. It fails when that would take
// longer than an agent is silent, so that connections which a machine opens without end
// do not wait here in ever greater numbers.
func (b *boot) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	return b.pace.Wait(ctx)
}

// given reports whether the instructions are given to nobody any more.
func (b *boot) given() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Given
}

// admit makes a the agent of a boot, in place of one before it.
func (s *Server) admit(b *boot, a *agent) error {
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return errOver
	}
	before, given := b.agent, b.Given
	b.agent, b.Given = a, true
	b.mu.Unlock()
	if before != nil {
		before.conn.Close()
	}
	if given {
		return nil
	}
	return s.keep(b)
}

// prod has a machine look after its connections for files, which are of a server before
// this one when that was away: it tries them ever more seldom, and would find out late.
func prod(on Network, machine netip.Addr, conns []instructions.Conn) {
	for _, c := range conns[:min(len(conns), instructions.MostConns)] {
		if c.Remote == PortNFS || c.Remote == PortHTTP {
			on.Prod(c.Remote, netip.AddrPortFrom(machine, c.Local))
		}
	}
}

// isRooted reports whether nobody gets the root file system any more.
func (b *boot) isRooted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Rooted
}

// note notes that a machine has its root file system, and that its process has ended, as
// its agent says. It reports whether the latter is new.
func (s *Server) note(b *boot, said instructions.Report) (ended bool, err error) {
	rooted := slices.ContainsFunc(said.Steps, func(b instructions.Begun) bool { return b.Step == instructions.Init })
	b.mu.Lock()
	rooted, ended = rooted && !b.Rooted, said.Ended != "" && !b.Ended
	b.Rooted, b.Ended = b.Rooted || rooted, b.Ended || ended
	b.mu.Unlock()
	if rooted || ended {
		err = s.keep(b)
	}
	return ended, err
}

// keep keeps what a boot came to, unless it is not the last one any more.
func (s *Server) keep(b *boot) error {
	b.mu.Lock()
	r := b.record
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), orderLimit)
	defer cancel()
	_, err := s.Store.Update(ctx, func(tx state.Tx) error {
		now, found, err := records.Find(tx, string(b.machine.MAC))
		if err != nil || !found || now.ID != r.ID {
			return err
		}
		return records.Put(tx, string(b.machine.MAC), r)
	})
	return err
}

// heed tells the lab what is new in a report of the present boot.
func (s *Server) heed(ctx context.Context, b *boot, a *agent, said instructions.Report) {
	b.mu.Lock()
	defer b.mu.Unlock() // while the lab is told, so that it is not told later
	if b.over || b.agent != a {
		return
	}
	before := a.said
	a.said = said
	n, now := b.node(), step(said)
	addr := netip.AddrPortFrom(b.machine.IP, portSSH).String()
	switch {
	case b.dead: // and does not become another by what else is said
	case said.Failed != "":
		b.dead = true
		s.Lab.Stopped(n, addr, fault.Failedf("%.*s", failedLimit, nodes.Plain(said.Failed)))
	case now == "", now == step(before):
	case now == instructions.Up:
		s.tellRoot(ctx, b, nodes.StepUp)
		s.Lab.Up(n, addr)
	case now == instructions.Rescue:
		s.Lab.Stopped(n, addr, nil)
	default:
		if now == instructions.Init {
			s.tellRoot(ctx, b, nodes.StepRoot)
		}
		s.Lab.Reached(ctx, n, reached[now])
	}
	s.renewed(ctx, b, before, said)
	if said.Size > 0 {
		s.Lab.Wrote(n, max(0, said.Used), said.Size)
	}
}

// reached are the steps of agents that are not up, as the lab knows them.
var reached = map[instructions.Step]nodes.Step{
	instructions.Asking: nodes.StepInitramfs, instructions.Mounts: nodes.StepMounting, instructions.Init: nodes.StepRoot,
}

// step is where a machine is, "" when it tells no step at which an agent can be that has
// its instructions: whoever is root on a machine can tell anything.
func step(r instructions.Report) instructions.Step {
	if len(r.Steps) == 0 {
		return ""
	}
	switch last := r.Steps[len(r.Steps)-1].Step; last {
	case instructions.Asking, instructions.Rescue, instructions.Mounts, instructions.Init, instructions.Up:
		return last
	}
	return ""
}

// full is what share of its memory for files a machine may have used.
const full = 0.97

// trouble is what a report tells of that may end a machine.
func trouble(r instructions.Report) string {
	if r.Size > 0 && float64(r.Used) >= full*float64(r.Size) {
		return fmt.Sprintf("its memory for files was full (%d of %d MiB)", r.Used>>20, r.Size>>20)
	}
	return ""
}

// dismiss notes that the connection of an agent has ended. It reports whether it was
// the one of the machine.
func (b *boot) dismiss(a *agent) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.agent != a {
		return false
	}
	b.agent = nil
	return true
}

// end closes the connection of the agent, which is not heard any more.
func (b *boot) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	if b.stop != nil {
		b.stop()
	}
	if b.agent != nil {
		b.agent.conn.Close()
		b.agent = nil
	}
}
