package lan

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"walt/host"
)

const (
	// flowsEach is how many connections to the world one machine may have.
	flowsEach = 256
	// handshakes is how many connections of all machines may be under way: more than
	// one machine can have.
	handshakes = 16 * flowsEach
	// ownFor is how long the addresses of this host are remembered: to ask for them
	// takes longer than anything else that a packet of a machine makes necessary.
	ownFor = time.Second
	// dialLimit is how long the world may take to accept a connection.
	dialLimit = 30 * time.Second
	// udpIdle is after how long without a packet a flow of UDP is forgotten,
	// RFC 4787, section 4.3.
	udpIdle = 2 * time.Minute
	// abortAgain is how often is looked for connections that are to end.
	abortAgain = 10 * time.Millisecond
)

// world lets machines reach addresses outside of their network, through sockets of
// the server; nobody outside can reach them.
type world struct {
	lan    *LAN
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	open   atomic.Bool
	ctx    context.Context // of all flows
	cancel context.CancelFunc
	under  sync.WaitGroup // flows

	mu     sync.Mutex
	flows  map[netip.Addr]*flows // of each machine that has some
	leads  map[*lead]bool        // all flows
	closed bool
	own    []netip.Addr // of this host, at the time asked
	asked  time.Time
}

// lead is where to one flow leads, and what ends it.
type lead struct {
	to  netip.Addr
	end context.CancelFunc
}

// flows are those of one machine, from power on to power off.
type flows struct {
	n      int
	ctx    context.Context
	cancel context.CancelFunc
}

func newWorld(l *LAN) *world {
	dialer := &net.Dialer{Timeout: dialLimit, Control: toOne}
	w := &world{lan: l, dial: dialer.DialContext, flows: map[netip.Addr]*flows{}, leads: map[*lead]bool{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	l.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(l.stack, 0, handshakes, w.tcp).HandlePacket)
	l.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(l.stack, func(r *udp.ForwarderRequest) {
		w.udp(r)
	}).HandlePacket)
	return w
}

// toOne has the host refuse to send to everybody on one of its networks, which are its own
// services, too. Go's sockets may do that unless they are told.
func toOne(_, _ string, c syscall.RawConn) (err error) {
	failed := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST, 0) })
	return errors.Join(failed, err)
}

// SetNAT lets machines reach the world, or not. What they have open goes on.
func (l *LAN) SetNAT(on bool) error {
	l.world.open.Store(on)
	// The stack takes packets for any address, and answers with it.
	if err := l.stack.SetPromiscuousMode(nic, on); err != nil {
		return failure(err)
	}
	if err := l.stack.SetSpoofing(nic, on); err != nil {
		return failure(err)
	}
	return nil
}

func (w *world) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	over := make(chan struct{})
	go func() { // ends with the flows
		w.under.Wait()
		close(over)
	}()
	for { // some may only just have come to where they wait for their machine
		w.abort(func(netip.Addr) bool { return true })
		select {
		case <-over:
			return
		case <-time.After(abortAgain):
		}
	}
}

// hangUp ends the flows of a machine that is off: it ends none of them itself.
func (w *world) hangUp(machine netip.Addr) {
	w.mu.Lock()
	f := w.flows[machine]
	delete(w.flows, machine)
	w.mu.Unlock()
	if f != nil {
		f.cancel()
		w.abort(func(a netip.Addr) bool { return a == machine })
	}
}

// abort ends the connections to the world of some machines, also those that wait for the
// machine to accept that they are there, for which the stack takes two minutes.
func (w *world) abort(of func(machine netip.Addr) bool) {
	for _, e := range w.lan.stack.RegisteredEndpoints() {
		told, is := e.(interface{ Info() tcpip.EndpointInfo })
		if !is {
			continue
		}
		i, is := told.Info().(*stack.TransportEndpointInfo)
		if is && i.ID.RemotePort != 0 && addr(i.ID.LocalAddress) != w.lan.Server && of(addr(i.ID.RemoteAddress)) {
			e.Abort()
		}
	}
}

// enter counts a flow of a machine and returns where to it leads, until when it may be,
// and what to call at its end: nil when it may not be.
func (w *world) enter(id stack.TransportEndpointID) (ctx context.Context, to netip.AddrPort, leave func()) {
	to = netip.AddrPortFrom(addr(id.LocalAddress), id.LocalPort)
	if !w.open.Load() {
		return nil, to, nil
	}
	ctx, left := w.count(addr(id.RemoteAddress))
	if left == nil {
		return nil, to, nil
	}
	ctx, end := context.WithCancel(ctx)
	one := &lead{to.Addr(), end}
	w.mu.Lock()
	w.leads[one] = true
	w.mu.Unlock()
	leave = func() {
		w.mu.Lock()
		delete(w.leads, one)
		w.mu.Unlock()
		end()
		left()
	}
	if !w.reachable(to.Addr()) { // from now on HangUpGuarded knows of it
		leave()
		return nil, to, nil
	}
	return ctx, to, leave
}

// HangUpGuarded ends what machines have open to where they must not reach by now.
func (l *LAN) HangUpGuarded() {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.leads {
		if l.Guarded != nil && l.Guarded(one.to) {
			one.end()
		}
	}
}

// count counts a flow of a machine, which may be until ctx ends, until leave is called; nil
// when there are too many.
func (w *world) count(from netip.Addr) (ctx context.Context, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.flows[from]
	if w.closed || f != nil && f.n >= flowsEach {
		return nil, nil
	}
	if f == nil {
		f = new(flows)
		f.ctx, f.cancel = context.WithCancel(w.ctx)
		w.flows[from] = f
	}
	w.under.Add(1)
	f.n++
	return f.ctx, func() {
		defer w.under.Done()
		w.mu.Lock()
		defer w.mu.Unlock()
		if f.n--; f.n == 0 {
			f.cancel()
			if w.flows[from] == f {
				delete(w.flows, from)
			}
		}
	}
}

// clouds are where providers of hosts tell each its secrets, beside the addresses of the
// link: Azure, Alibaba Cloud, and Oracle Cloud.
var clouds = []netip.Addr{
	netip.AddrFrom4([4]byte{168, 63, 129, 16}),
	netip.AddrFrom4([4]byte{100, 100, 100, 200}),
	netip.AddrFrom4([4]byte{192, 0, 0, 192}),
}

// reachable reports whether an address is of the world: neither of this host,
// whose services trust what comes from it, nor of a link, a group, or its provider, nor one
// that is guarded.
func (w *world) reachable(to netip.Addr) bool {
	if !to.Is4() || !to.IsGlobalUnicast() || w.lan.Subnet.Contains(to) || to.As4()[0] == 0 || slices.Contains(clouds, to) {
		return false
	}
	if w.lan.Guarded != nil && w.lan.Guarded(to) {
		return false
	}
	own, err := w.addresses()
	return err == nil && !slices.Contains(own, to)
}

// addresses are those of this host.
func (w *world) addresses() ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.asked) >= ownFor {
		own, err := host.Addresses()
		if err != nil {
			return nil, err
		}
		w.own, w.asked = own, now
	}
	return w.own, nil
}

// tcp connects a machine with the world.
func (w *world) tcp(r *tcp.ForwarderRequest) {
	ctx, to, leave := w.enter(r.ID())
	if leave == nil {
		r.Complete(true)
		return
	}
	go func() { // ends with both sides, the machine, or the network
		defer leave()
		outside, err := w.dial(ctx, "tcp4", to.String())
		if err != nil {
			r.Complete(true)
			return
		}
		defer outside.Close()
		var queue waiter.Queue
		endpoint, failed := r.CreateEndpoint(&queue)
		r.Complete(failed != nil)
		if failed != nil {
			return
		}
		inside := gonet.NewTCPConn(&queue, endpoint)
		defer inside.Close()
		defer context.AfterFunc(ctx, func() { inside.Close(); outside.Close() })()
		join(inside, outside.(duplex))
	}()
}

// duplex is a connection of which one direction can end before the other.
type duplex interface {
	net.Conn
	CloseWrite() error
}

// join copies both directions until both have ended.
func join(a, b duplex) {
	var both sync.WaitGroup
	both.Go(func() { pass(a, b) })
	both.Go(func() { pass(b, a) })
	both.Wait()
}

// pass copies one direction, and tells the other side of its end. When that is an
// error, the connection is of no more use.
func pass(to, from duplex) {
	if _, err := io.Copy(to, from); err != nil || to.CloseWrite() != nil {
		to.Close()
		from.Close()
	}
}

// udp passes the packets between one port of a machine and one of the world.
func (w *world) udp(r *udp.ForwarderRequest) {
	ctx, to, leave := w.enter(r.ID())
	if leave == nil {
		return
	}
	var queue waiter.Queue
	endpoint, failed := r.CreateEndpoint(&queue)
	if failed != nil {
		leave()
		return
	}
	inside := gonet.NewUDPConn(&queue, endpoint)
	go func() { // ends when nothing passes, with the machine, or with the network
		defer leave()
		defer inside.Close()
		outside, err := w.dial(ctx, "udp4", to.String())
		if err != nil {
			return
		}
		hangUp := func() { inside.Close(); outside.Close() }
		defer context.AfterFunc(ctx, hangUp)()
		idle := time.AfterFunc(udpIdle, hangUp)
		defer idle.Stop()
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{inside, outside}, {outside, inside}} {
			both.Go(func() {
				defer hangUp()
				relay(way[0], way[1], idle)
			})
		}
		both.Wait()
	}()
}

// relay copies packets until one of the sides is closed.
func relay(to, from net.Conn, idle *time.Timer) {
	b := make([]byte, mtu)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
		idle.Reset(udpIdle)
	}
}
