package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/config"
	"walt/ethernet"
	"walt/journal"
	"walt/power"
	"walt/power/driver"
	"walt/power/driver/web"
	"walt/power/snmp"
	"walt/state"
	"walt/state/badger"
)

// anybody is a lab whose devices are all nodes.
type anybody struct{ power.Devices }

func (anybody) Behind(_ state.Reader, mac ethernet.MAC) (power.Device, bool, error) {
	return power.Device{Name: string(mac), Node: true}, true, nil
}

// What gives nodes their power is guarded as soon as somebody tells of it: switches, drivers,
// and outlets, by address or by a name, which is looked up again and again.
func TestGuard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := badger.OpenMemory()
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		drivers := driver.New()
		if err := drivers.Set([]driver.Driver{{Name: "bmc", Hosted: true, Ported: driver.May}}, nil); err != nil {
			t.Fatal(err)
		}
		ports := power.New(power.Config{Store: store, Journal: journal.New(store, time.Now), Devices: anybody{}, Drivers: drivers, Log: slog.New(slog.DiscardHandler), Now: time.Now})
		var said bytes.Buffer
		g := newGuard(ports, slog.New(slog.NewTextHandler(&said, nil)))
		var mu sync.Mutex
		names := map[string]string{"pdu.lab": "10.9.0.7"}
		g.lookup = func(_ context.Context, network, host string) ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			if a, err := netip.ParseAddr(names[host]); err == nil && network == "ip4" {
				return []netip.Addr{a}, nil
			}
			return nil, errors.New("no such host")
		}
		var over []netip.Addr // what was open to these is not any more
		g.changed = func() {
			if a := netip.MustParseAddr("10.9.1.7"); g.has(a) {
				over = append(over, a)
			}
		}
		is := func(want bool, all ...string) {
			t.Helper()
			synctest.Wait()
			for _, a := range all {
				if got := g.has(netip.MustParseAddr(a)); got != want {
					t.Errorf("%s is guarded: %v, want %v", a, got, want)
				}
			}
		}
		is(true, "192.0.2.1") // nothing is known yet
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.run(ctx) }() // ends with ctx
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		is(false, "192.0.2.1", "10.9.0.2", "10.9.1.7", "10.9.0.7")

		if _, err := store.Update(t.Context(), func(tx state.Tx) error {
			told, err := power.ParseSupply("bmc@10.9.1.7+bmc@[fd00::7]:623")
			return errors.Join(err, ports.SetSupply(tx, "52:54:00:00:00:01", told),
				ports.Configure(tx, "52:54:00:00:00:02", power.Switch{Switch: snmp.Switch{Address: "10.9.0.2:161"}}))
		}); err != nil {
			t.Fatal(err)
		}
		is(true, "10.9.1.7", "fd00::7", "10.9.0.2")
		if len(over) == 0 {
			t.Error("what is open to 10.9.1.7 goes on")
		}
		g.set(config.Power{Drivers: []config.Driver{
			{Host: "pdu.lab:161"}, {Host: "10.9.0.3"}, {HTTP: web.Settings{Profile: web.Profile{On: "POST https://10.9.0.4:8080/on", Off: "GET http://{host}/off"}}},
		}})
		is(true, "10.9.0.7", "10.9.0.3", "10.9.0.4")
		is(false, "10.9.0.8", "192.0.2.1")

		mu.Lock()
		names["pdu.lab"] = "10.9.0.8"
		mu.Unlock()
		time.Sleep(guardEvery + time.Second)
		is(true, "10.9.0.8")
		is(false, "10.9.0.7")
		mu.Lock()
		delete(names, "pdu.lab")
		mu.Unlock()
		time.Sleep(guardEvery + time.Second)
		is(true, "10.9.0.8") // nobody says that it is not
		if said.Len() > 0 {
			t.Errorf("the log says %s", &said)
		}
		g.set(config.Power{Drivers: []config.Driver{{Host: "pdu.lab:161"}, {Host: "rack.lab"}}})
		time.Sleep(3*guardEvery + time.Second)
		synctest.Wait()
		if got, want := said.String(), "machines are not kept from it\" names=rack.lab why=\"no such host\"\n"; !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("the log says %s", got)
		}
		g.set(config.Power{})
		is(false, "10.9.0.8", "10.9.0.3")
	})
}

// As long as it is not known where names lead, at the start, they may lead anywhere.
func TestGuardAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := badger.OpenMemory()
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		g := newGuard(power.New(power.Config{Store: store, Devices: anybody{}, Drivers: driver.New(), Now: time.Now}), slog.New(slog.DiscardHandler))
		answer := make(chan struct{})
		g.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			<-answer
			return []netip.Addr{netip.MustParseAddr("10.9.0.7")}, nil
		}
		g.set(config.Power{Drivers: []config.Driver{{Host: "pdu.lab"}, {Host: "10.9.0.3"}}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.run(ctx) }() // ends with ctx
		are := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, a := range []string{"10.9.0.3", "10.9.0.7", "192.0.2.1"} {
				if g.has(netip.MustParseAddr(a)) {
					got = append(got, a)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("guarded are %v, want %v", got, want)
			}
		}
		are("10.9.0.3", "10.9.0.7", "192.0.2.1")
		close(answer)
		are("10.9.0.3", "10.9.0.7")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
