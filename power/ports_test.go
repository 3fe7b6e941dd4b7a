package power_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power"
	"walt/power/powertest"
	"walt/power/snmp"
	"walt/state"
	"walt/state/badger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// room is ports and the devices around them, which the test plays.
type room struct {
	*power.Ports
	rig *powertest.Rig

	runs     atomic.Bool // all nodes say so
	switched []string    // "MAC on" or "MAC off", of virtual nodes
	pc       sleeper     // n1, if packets wake it
}

// devices is who is behind each MAC address.
var devices = state.NewTable[power.Device]("device")

func (r *room) Behind(reader state.Reader, mac ethernet.MAC) (power.Device, bool, error) {
	return devices.Find(reader, string(mac))
}

func (r *room) Runs(ethernet.MAC) bool { return r.runs.Load() }

func (r *room) PoweredOff(ethernet.MAC) {}

func (r *room) Admit(state.Reader, ethernet.MAC) error { return nil }

func (r *room) Switch(_ context.Context, mac ethernet.MAC, on bool) error {
	r.switched = append(r.switched, fmt.Sprintf("%s %t", mac, on))
	return nil
}

func (r *room) Deaf(ethernet.MAC) bool { return false }

func (r *room) Presence(ctx context.Context, _ ethernet.MAC) (power.Presence, error) {
	return r.pc.presence(ctx)
}

func (r *room) ShutDown(ctx context.Context, _ ethernet.MAC) error { return r.pc.shutDown(ctx) }

func (r *room) Restart(ctx context.Context, _ ethernet.MAC) error { return r.pc.restart(ctx) }

// newRoom has a switch sw1 of the address one:161, with the nodes n1, n2 and so
// on, all idle, on its ports from 1 on.
func newRoom(t testing.TB, nodes int) *room {
	t.Helper()
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	r := &room{rig: powertest.New()}
	r.Ports = power.New(power.Config{
		Store: store, Journal: journal.New(store, time.Now), Devices: r, Dial: r.rig.Dial,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	r.addSwitch(t, "sw1", "one:161")
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		r.put(t, power.Device{Name: name, Node: true, Idle: true, Since: time.Now()})
		r.plug(t, name, "sw1", i+1)
	}
	return r
}

func (r *room) update(t testing.TB, f func(state.Tx) error) {
	t.Helper()
	_, err := r.Store.Update(t.Context(), f)
	ok(t, err)
}

func (r *room) put(t testing.TB, d power.Device) {
	t.Helper()
	r.update(t, func(tx state.Tx) error { return devices.Put(tx, string(macOf(d.Name)), d) })
}

func (r *room) addSwitch(t testing.TB, name, address string) {
	t.Helper()
	r.put(t, power.Device{Name: name})
	r.update(t, func(tx state.Tx) error {
		return r.Configure(tx, macOf(name), power.Switch{Switch: snmp.Switch{Address: address}, Explore: true, PoE: true})
	})
}

// plug connects a device by hand.
func (r *room) plug(t testing.TB, name, sw string, port int) {
	t.Helper()
	to := power.Port{Switch: macOf(sw), Number: port}
	if sw == "" {
		to = power.Port{}
	}
	r.update(t, func(tx state.Tx) error { return r.Connect(tx, "alice", macOf(name), to) })
}

// port is where a device is connected.
func (r *room) port(t testing.TB, name string) (port power.Port) {
	t.Helper()
	ok(t, r.Wiring(t.Context(), func(w power.Wiring) { port = w.Port(macOf(name)) }))
	return port
}

// take is what happens when somebody takes a node.
func (r *room) take(t testing.TB, name string) {
	t.Helper()
	var port power.Port
	r.update(t, func(tx state.Tx) (err error) {
		if err := devices.Put(tx, string(macOf(name)), power.Device{Name: name, Node: true}); err != nil {
			return err
		}
		port, err = r.PowerCycle(tx, macOf(name))
		return err
	})
	ok(t, r.Execute(t.Context(), port))
}

// run runs the ports until the test ends, or the function is called.
func (r *room) run(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); ok(t, <-ended) })
	t.Cleanup(stop)
	return stop
}

// macOf is an address made from a name.
func macOf(name string) ethernet.MAC {
	h := sha256.Sum256([]byte(name))
	return ethernet.MAC(fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3]))
}

var errSilent = fault.Failedf("the switch does not answer")

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// A port that is off cannot become another outlet: the one that was cut would stay
// without power.
func TestOutletOfAPortThatIsOff(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 2)
	r.SetIdle(time.Nanosecond)
	_, err := r.OrderOff(t.Context())
	ok(t, err)
	ok(t, r.Execute(t.Context(), r.port(t, "n1")))
	configure := func(poe bool, ports snmp.PoEPorts) error {
		_, err := r.Store.Update(t.Context(), func(tx state.Tx) error {
			return r.Configure(tx, macOf("sw1"), power.Switch{Switch: snmp.Switch{Address: "one:161", PoEPorts: ports}, PoE: poe})
		})
		return err
	}
	for _, ports := range []snmp.PoEPorts{"1:2.1", "1-4:1.1", "2:2.2"} { // port 2 is about to be cut
		if err := configure(true, ports); fault.As(err) == nil {
			t.Errorf("%s: %v", ports, err)
		}
	}
	ok(t, configure(true, "9:1.9"))
	ok(t, configure(false, "9:1.9"))
	ok(t, r.Execute(t.Context(), r.port(t, "n1")))
	ok(t, configure(false, "1:2.1"))

	// One that could not be cut, maybe since its outlet is not known, can.
	ok(t, r.Execute(t.Context(), r.port(t, "n2")))
	ok(t, configure(true, "1:2.1"))
	_, err = r.OrderOff(t.Context())
	ok(t, err)
	r.rig.Refuse("one:161", errSilent)
	if err := r.Execute(t.Context(), r.port(t, "n2")); err == nil {
		t.Error("it was cut")
	}
	ok(t, configure(true, "1:2.1,2:2.2"))
}
