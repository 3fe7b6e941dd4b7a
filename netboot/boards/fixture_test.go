package boards_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"walt/ethernet"
	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/netboot/netboottest"
	"walt/nodes"
)

var _ boards.Lab = (*nodes.Lab)(nil)

var server, one, two = netboottest.Server, netboottest.One, netboottest.Two

// fixture is a lab with devices on a segment.
type fixture struct{ *netboottest.Fixture }

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return &fixture{netboottest.New(t)}
}

// devices are those of a lab.
type devices interface {
	Met(context.Context, nodes.Arrival) (nodes.Device, error)
	Device(context.Context, ethernet.MAC) (nodes.Device, bool, error)
	Called(context.Context, nodes.Name) (nodes.Device, bool, error)
	Asleep(context.Context, ethernet.MAC, string) error
}

// boards is a server of boards in a lab with these devices.
func (f *fixture) boards(all devices) *boards.Server {
	lab := struct {
		*netboottest.Fixture
		devices
	}{f.Fixture, all}
	return boards.New(boards.Config{Boots: f.Server, Lab: lab, Store: f.Store, Library: f.Library, Log: f.Log, Now: func() time.Time { return f.Now() }})
}

// serves returns what answers these devices on a segment: by DHCP, and by HTTP.
func (f *fixture) serves(on boards.Network, segment boards.Segment, all devices) (dhcp.Hosts, http.HandlerFunc) {
	return boards.Boards(f.boards(all), on, segment)
}
