package tftp

import (
	"testing"
	"time"
)

// Waits has a server wait for so long before it sends the same again.
func (s *Server) Waits(wait time.Duration) { s.wait = wait }

// CheckRequest reads what may be a request: what comes of it keeps within its limits.
func CheckRequest(t *testing.T, b []byte) {
	r, wrong := parseRequest(b)
	if r == nil {
		return
	}
	x := r.terms(0, usualWait)
	if wrong != nil || r.file == "" || x.block < leastBlock || x.block > largeBlock || x.window < 1 || x.window > largeWindow || x.wait <= 0 {
		t.Errorf("%q: %+v, %+v, %+v", b, r, x, wrong)
	}
	if p := r.accepted(x, 1); len(p) > 2*len(b)+100 {
		t.Errorf("%q is answered with %q", b, p)
	}
}
