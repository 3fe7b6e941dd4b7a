package driver

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A device that takes a connection, and then says nothing, is left when the request has ended,
// also before they have agreed on TLS.
func TestExchangeLeaves(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ctx, cancel := context.WithCancel(t.Context())
			left := make(chan error, 1)
			go func() {
				c, err := l.Accept()
				if err == nil {
					defer c.Close()
					c.SetDeadline(time.Now().Add(time.Minute))
					_, err = io.ReadFull(c, make([]byte, 1)) // it is under way
					cancel()
				}
				if err == nil {
					_, err = io.Copy(io.Discard, c)
				}
				left <- err
			}()
			q, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+l.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: Trust(nil, Fingerprint{})}
			if _, _, err := Exchange(transport, q, 1<<10); err == nil {
				t.Error("there was an answer")
			}
			if err := <-left; err != nil {
				t.Errorf("the connection is kept: %v", err)
			}
		})
	}
}
