package netboot_test

import (
	"testing"

	"walt/netboot"
	"walt/netboot/netboottest"
	"walt/nodes"
)

var (
	_ netboot.Lab  = (*nodes.Lab)(nil)
	_ nodes.Agents = (*netboot.Server)(nil)
)

var one, two = netboottest.One, netboottest.Two

// fixture is that of tests of this package, which ask for more than others do.
type fixture struct{ *netboottest.Fixture }

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return &fixture{netboottest.New(t)}
}
