package lan

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"walt/ethernet"
)

const (
	// toAll and toAllAtOnce bound the frames to everybody that one machine may send,
	// a second and in a burst: each costs all others.
	toAll, toAllAtOnce = 200, 400
	// begins and beginsAtOnce bound what one machine may begin with the server: a
	// connection, a question about a name. Each costs memory, for a while.
	begins, beginsAtOnce = 500, 1000
	// forNothing and forNothingAtOnce bound the frames of one machine that are refused,
	// or answered by the server at once: these take time that others want.
	forNothing, forNothingAtOnce = 1000, 2000
	// complainEvery is how often the log tells of one machine that it is refused frames.
	complainEvery = time.Minute
)

// Cable is how a machine is connected: by two datagram sockets in the file system,
// one of the switch and one of the machine, each frame in a datagram.
type Cable struct {
	Name string // for the log
	MAC  ethernet.MAC
	IP   netip.Addr
	Ours string // file of the switch's socket, made anew
	Peer string // file of the machine's socket, which may not be there yet
}

// Port is a port of the switch.
type Port struct {
	lan   *LAN
	mac   tcpip.LinkAddress
	ip    netip.Addr
	peer  *net.UnixAddr
	conn  *net.UnixConn
	out   *queue        // frames to the machine
	off   chan struct{} // closed by Close
	close func()
	loops sync.WaitGroup

	broadcasts, beginnings, useless *rate.Limiter

	refused    atomic.Int64
	complained time.Time // by the reading loop alone
	log        *slog.Logger
}

// Connect connects a machine, which may run already.
func (l *LAN) Connect(c Cable) (*Port, error) {
	hw, err := net.ParseMAC(string(c.MAC))
	if err != nil {
		return nil, err
	}
	if !l.Subnet.Contains(c.IP) || c.IP == l.Server {
		return nil, fmt.Errorf("connect %s: %s is no address for a machine of %s", c.Name, c.IP, l.Subnet)
	}
	if err := os.Remove(c.Ours); err != nil && !errors.Is(err, os.ErrNotExist) { // of a server before this one
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: c.Ours, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", c.Name, err)
	}
	p := &Port{
		lan: l, mac: tcpip.LinkAddress(hw), ip: c.IP, conn: conn,
		peer: &net.UnixAddr{Name: c.Peer, Net: "unixgram"},
		out:  newQueue(), off: make(chan struct{}), log: l.Log.With("node", c.Name),
		broadcasts: rate.NewLimiter(toAll, toAllAtOnce), beginnings: rate.NewLimiter(begins, beginsAtOnce),
		useless: rate.NewLimiter(forNothing, forNothingAtOnce),
	}
	p.close = sync.OnceFunc(func() {
		close(p.off)
		conn.Close()
		os.Remove(c.Ours)
	})
	l.mu.Lock()
	_, taken := l.ports[p.mac]
	if !taken {
		l.ports[p.mac] = p
	}
	l.mu.Unlock()
	if taken {
		p.close()
		return nil, fmt.Errorf("connect %s: %s is on the network already", c.Name, c.MAC)
	}
	// What is sent to it arrives also while it does not answer to its address yet.
	if err := l.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, address(c.IP), p.mac); err != nil {
		p.Close()
		return nil, fmt.Errorf("connect %s: %w", c.Name, failure(err))
	}
	p.loops.Go(p.read)  // ends with Close
	p.loops.Go(p.write) // so does this
	return p, nil
}

// Close takes the machine off the network.
func (p *Port) Close() {
	p.lan.mu.Lock()
	if p.lan.ports[p.mac] == p {
		delete(p.lan.ports, p.mac)
		_ = p.lan.stack.RemoveNeighbor(nic, ipv4.ProtocolNumber, address(p.ip)) // it is gone with the stack
	}
	p.lan.mu.Unlock()
	p.close()
	p.loops.Wait()
	p.lan.world.hangUp(p.ip)
}

// read brings the machine's frames to where they go.
func (p *Port) read() {
	var b [mostFrame + 1]byte
	for {
		n, err := p.conn.Read(b[:])
		if err != nil {
			return // closed
		}
		p.restrain()
		frame := append([]byte(nil), b[:n]...)
		switch wrong := p.check(frame); wrong {
		case "":
			p.lan.send(p, frame)
		case unheard:
			p.useless.Reserve()
			if solicits(frame) {
				p.out.put(nil, advertisement)
			}
		default:
			p.refuse(wrong)
		}
	}
}

// refuse counts a frame that does not get in, and says so now and then.
func (p *Port) refuse(wrong string) {
	n := p.refused.Add(1)
	if now := time.Now(); now.Sub(p.complained) >= complainEvery {
		p.complained = now
		p.log.Warn("a node sends what it may not", "last", wrong, "frames", n)
	}
	p.useless.Reserve()
}

// restrain waits when a machine sent too much for nothing: it finds its wire busy.
func (p *Port) restrain() {
	owed := -p.useless.Tokens()
	if owed < forNothing/1000 { // a timer is not as exact
		return
	}
	select {
	case <-p.off:
	case <-time.After(time.Duration(owed * float64(time.Second) / forNothing)):
	}
}

// write brings frames to the machine. One that is not there, or has no room for
// more for a while, gets nothing.
func (p *Port) write() {
	for {
		select {
		case <-p.off:
			return
		case <-p.out.ready:
			for frame := p.out.take(); frame != nil; frame = p.out.take() {
				// An error means that the machine is off, or was closed: as with an
				// unplugged cable the frame is lost.
				_, _ = p.conn.WriteToUnix(frame, p.peer)
			}
		}
	}
}

// send brings a frame to the machine that it is for, to the server, or to
// everybody; not back to where it comes from, which is nil for the server.
func (l *LAN) send(from *Port, frame []byte) {
	to := header.Ethernet(frame).DestinationAddress()
	if !header.IsMulticastEthernetAddress(to) {
		if to == serverMAC {
			if from != nil && !l.hears(frame) {
				from.useless.Reserve()
			}
			l.receive(frame)
			return
		}
		l.mu.RLock()
		p := l.ports[to]
		l.mu.RUnlock()
		if p == nil || p == from {
			return
		}
		if from == nil && resets(frame) { // what is answered so came for nothing
			p.useless.Reserve()
		}
		p.out.put(from, frame)
		return
	}
	if from != nil {
		if !from.broadcasts.Allow() {
			from.refuse("too much for everybody")
			return
		}
		l.receive(frame)
		if forServer(frame) {
			return
		}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, p := range l.ports {
		if p != from {
			p.out.put(from, frame)
		}
	}
}

// receive gives a frame to the server's stack.
func (l *LAN) receive(frame []byte) {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer p.DecRef()
	l.up.InjectInbound(0, p) // the protocol is in the frame
}
