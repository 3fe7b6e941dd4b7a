package crowd

import (
	"net/netip"
	"testing"
)

// Nobody has more than each may, all have no more than all may, and who leaves makes room.
func TestCrowd(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	crowd := New(2, 3)
	for i, step := range []struct {
		from   netip.Addr
		enters bool
	}{{a, true}, {a, true}, {a, false}, {b, true}, {b, false}, {c, false}} {
		if got := crowd.Enter(step.from); got != step.enters {
			t.Errorf("%d: %s enters: %v", i, step.from, got)
		}
	}
	crowd.Leave(a)
	if !crowd.Enter(c) || crowd.Enter(a) {
		t.Error("the room of who left is not there, or there twice")
	}
	for _, from := range []netip.Addr{a, b, c} {
		crowd.Leave(from)
	}
	if len(crowd.open) != 0 || crowd.sum != 0 {
		t.Errorf("who left is remembered: %v", crowd.open)
	}
}
