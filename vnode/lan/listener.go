package lan

import (
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"walt/crowd"
)

// connsEach is how many connections one machine may have to one port of the server.
// The next ones are closed at once.
const connsEach = 64

// listener accepts connections, but no more than connsEach from one address.
type listener struct {
	*gonet.TCPListener
	crowd *crowd.Crowd
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.TCPListener.Accept()
		if err != nil {
			return nil, err
		}
		// The stack does not know the address of a connection that was reset before
		// it is accepted.
		from, known := c.RemoteAddr().(*net.TCPAddr)
		if ip := from.AddrPort().Addr().Unmap(); known && l.crowd.Enter(ip) {
			leave := sync.OnceFunc(func() { l.crowd.Leave(ip) })
			return &counted{c.(*gonet.TCPConn), from, leave}, nil
		}
		c.Close()
	}
}

// counted is a connection that counts until it is closed. It knows whose it is
// whatever becomes of it.
type counted struct {
	*gonet.TCPConn
	from  net.Addr
	leave func()
}

func (c *counted) RemoteAddr() net.Addr { return c.from }

func (c *counted) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}
