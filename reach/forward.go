package reach

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/nodes"
)

// bootPatience is how long a node that boots is waited for.
const bootPatience = 30 * time.Second

// Forward connects the user to a port of the node that is called host. The connection is cut
// when the user's right to the node ends. admitted says of an error that the user may, but
// nothing answers there.
func (d *Doors) Forward(ctx context.Context, user auth.Name, host string, port uint32) (node io.ReadWriteCloser, admitted bool, err error) {
	w, err := d.Enter(ctx, user, nodes.Name(host), bootPatience)
	if err != nil {
		return nil, false, err
	}
	conn, err := w.Dial(ctx, int(port))
	if err != nil {
		w.Leave()
		return nil, true, err
	}
	f := &forward{Conn: conn, way: w, left: d.trail.forward(user, nodes.Name(host), int(port))}
	f.uncut = context.AfterFunc(w.Context(), func() { conn.Close() })
	return f, true, nil
}

// forward is a connection to a node, which ends with the right to it.
type forward struct {
	net.Conn
	way   Way
	once  sync.Once
	uncut func() bool
	left  func(why error)
}

// CloseWrite ends what is said to the node.
func (f *forward) CloseWrite() error {
	if half, can := f.Conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return f.Close()
}

// Close ends the connection and the stay.
func (f *forward) Close() (err error) {
	f.once.Do(func() {
		f.uncut()
		err = f.Conn.Close()
		f.left(cut(f.way))
		f.way.Leave()
	})
	return err
}

// cut is why a way was cut, nil when it was not, as by a client that went, and the way with it.
func cut(w Way) error {
	why := context.Cause(w.Context())
	if fault.As(why) == nil {
		return nil
	}
	return why
}
