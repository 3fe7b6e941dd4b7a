package lan

import (
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// connsEach is how many connections one machine may have to one port of the server.
// The next ones are closed at once.
const connsEach = 64

// listener accepts connections, but no more than connsEach from one address.
type listener struct {
	*gonet.TCPListener

	mu   sync.Mutex
	open map[string]int // by address
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
		if known && l.enter(from.IP.String()) {
			leave := sync.OnceFunc(func() { l.leave(from.IP.String()) })
			return &counted{c.(*gonet.TCPConn), from, leave}, nil
		}
		c.Close()
	}
}

func (l *listener) enter(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] == connsEach {
		return false
	}
	l.open[from]++
	return true
}

func (l *listener) leave(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
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
