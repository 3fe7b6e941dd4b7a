package remote

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// A node that writes without end is not read while its user takes nothing, and goes
// on when the user does.
func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, here := net.Pipe()
		r := newRelay()
		conn := relayed{here, r}
		go func() { // the node
			for {
				if _, err := node.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}()
		taking := make(chan struct{})
		user := toUser{writerFunc(func(p []byte) (int, error) {
			<-taking
			return len(p), nil
		}), r}
		var read atomic.Int64
		go func() {
			for {
				if _, err := user.Write(make([]byte, copySize)); err != nil || read.Load() == 4<<20 {
					return
				}
			}
		}()
		synctest.Wait() // it is being written to the user, who does not take it
		go func() {     // the library, which reads whatever comes
			n, err := io.CopyBuffer(writerFunc(func(p []byte) (int, error) {
				read.Add(int64(len(p)))
				return len(p), nil
			}), struct{ io.Reader }{io.LimitReader(conn, 4<<20)}, make([]byte, 4096))
			if n != 0 && err != nil && err != io.ErrClosedPipe {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if n := read.Load(); n > mostAhead+2*copySize {
			t.Errorf("%d bytes were read that nobody took", n)
		}
		close(taking)
		synctest.Wait()
		if n := read.Load(); n != 4<<20 {
			t.Errorf("%d bytes were read when all were taken", n)
		}
		conn.Close()
		node.Close()
	})
}

// The end of the connection is the end of waiting.
func TestRelayEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, here := net.Pipe()
		r := newRelay()
		r.writing, r.ahead = 1, mostAhead+1
		conn := relayed{here, r}
		done := make(chan error)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		conn.Close()
		if err := <-done; err == nil {
			t.Error("it goes on")
		}
		node.Close()
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
