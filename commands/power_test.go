package commands

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/nodes"
	"walt/power/snmp"
	"walt/state"
)

// outlets are the ports of the only switch.
type outlets struct {
	mu      sync.Mutex
	off     map[int]bool
	refuses map[int]error
	seen    []snmp.Neighbour
	called  []snmp.PortName
	takes   atomic.Int64 // nanoseconds to switch one
}

func (o *outlets) Power(_ context.Context, port int) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.off[port], o.refuses[port]
}

func (o *outlets) SetPower(_ context.Context, port int, on bool) error {
	time.Sleep(time.Duration(o.takes.Load())) // in a bubble
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.off == nil {
		o.off = map[int]bool{}
	}
	o.off[port] = !on
	return nil
}

func (o *outlets) Cycle(context.Context, int, time.Duration) error { return nil }

func (o *outlets) Neighbours(context.Context) ([]snmp.Neighbour, error) { return o.seen, nil }

func (o *outlets) Names(context.Context) ([]snmp.PortName, error) { return o.called, nil }

func (o *outlets) Close() error { return nil }

func TestPower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lab := newTestLab(t)
		lab.tell([]step{{
			user: "bob", line: "device rescan", status: StatusFailed,
			stderr: "walt: no switch may be explored\n  allow it with: device config SWITCH lldp.explore=true (see: help show power)\n",
		}})
		lab.ok("bob", "device add sw-1 --mac 52:54:00:00:09:01")
		lab.ok("bob", "device config sw-1 type=switch address=10.0.0.2 snmp.version=1 snmp.community=c lldp.explore=true poe.reboots=true")
		lab.outlets.seen = []snmp.Neighbour{
			{Port: 1, MAC: "52:54:00:00:00:01", Source: snmp.LLDP, Behind: 1},
			{Port: 2, MAC: "52:54:00:00:00:02", Source: snmp.Bridge, Behind: 1},
			{Port: 3, MAC: "52:54:00:00:00:77", Source: snmp.Bridge, Behind: 1},
		}
		lab.outlets.refuses = map[int]error{}
		busy := fault.Failedf("switch sw-1 refuses")
		lab.tell([]step{
			{
				user: "bob", line: "device rescan", stdout: "rpi-1 is connected to port 1 of sw-1\nrpi-2 is connected to port 2 of sw-1\n",
				stderr: "sw-1 sees 3 MAC addresses, 1 of them of no device here.\n",
			},
			{user: "bob", line: "device rescan rpi-1", status: StatusFailed, stderr: "walt: rpi-1 is not a switch; nothing changed\n  see what each device is with: device show\n"},
			{user: "bob", line: "node reboot rpi-1", stdout: "rpi-1 is rebooting\n"},
		})
		lab.outlets.refuses = map[int]error{1: busy, 2: busy}
		lab.tell([]step{{
			user: "bob", line: "node reboot rpi-1,rpi-2,rpi-10", status: StatusFailed,
			stderr: "walt: the server has no means to reboot rpi-10; could not reboot rpi-1, rpi-2: switch sw-1 refuses\n" +
				"  switch it off and on by hand: a node boots its image at every start\n",
		}})

		// Off, and woken for who needs it.
		lab.outlets.refuses = nil
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- lab.nodes.Ports.Run(ctx) }()
		lab.nodes.Ports.SetIdle(time.Hour)
		synctest.Wait()
		lab.pass(time.Hour)
		lab.nodes.Ports.SetIdle(time.Hour) // which looks again
		time.Sleep(time.Second)
		lab.pass(30 * time.Minute)
		lab.tell([]step{
			{
				user: "bob", line: "power show --json",
				stdout: `{"ports":[{"switch":"sw-1","port":1,"port_name":null,"node":"rpi-1","power":"off","since":"2026-11-22T13:00:00Z","error":null,"state":"off","state_reason":null,"last_error":null,"last_error_at":null},` +
					`{"switch":"sw-1","port":2,"port_name":null,"node":"rpi-2","power":"off","since":"2026-11-22T13:00:00Z","error":null,"state":"off","state_reason":null,"last_error":null,"last_error_at":null}],"saved_port_hours":1}` + "\n",
			},
		})
		const slow = 10 * time.Second
		lab.outlets.takes.Store(int64(slow))
		begun := time.Now()
		lab.tell([]step{{
			user: "bob", line: "node wait rpi-1 --timeout 3s", status: StatusFailed,
			stderr: "Waking rpi-1, which had been switched off to save power.\nWaiting for rpi-1 (off).\n" +
				"walt: not up after 3s: rpi-1 (off)\n  see what goes on with: node show --all\n",
		}})
		if waited := time.Since(begun); waited != 3*time.Second {
			t.Errorf("waited %v", waited)
		}
		time.Sleep(slow)
		lab.outlets.takes.Store(0)
		lab.tell([]step{
			{
				user: "bob", line: "node wait rpi-1 --timeout 1s", status: StatusFailed,
				stderr: "Waiting for rpi-1 (booting).\n" +
					"walt: not up after 1s: rpi-1 (booting)\n  see what goes on with: node show --all\n",
			},
			{
				user: "bob", line: "power show",
				stdout: "SWITCH  PORT  NODE   POWER  STATE  SINCE           TROUBLE\nsw-1    1     rpi-1  on     on     -\nsw-1    2     rpi-2  off    off    30 minutes ago\nSaved so far: 1.0 port-hours\n",
			},
			{
				user: "bob", line: "node run rpi-2 true", status: StatusFailed,
				stderr: "Waking rpi-2, which had been switched off to save power.\n" +
					"walt: rpi-2 was not up after 3m0s\n  see what it is doing with: node show --all\n",
			},
		})
		cancel()
		lab.must(<-ended)
		lab.store.Close()
	})
}

// Who waits for a node whose power could not be given is told so, and why, and not that it
// saves power.
func TestWaitForDarkNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lab := newTestLab(t)
		lab.ok("bob", "device add sw-1 --mac 52:54:00:00:09:01")
		lab.ok("bob", "device config sw-1 type=switch address=10.0.0.2 snmp.version=1 snmp.community=c lldp.explore=true poe.reboots=true")
		lab.outlets.seen = []snmp.Neighbour{{Port: 1, MAC: "52:54:00:00:00:01", Source: snmp.LLDP, Behind: 1}}
		lab.ok("bob", "device rescan")
		lab.ok("bob", "node off rpi-1")
		lab.outlets.refuses = map[int]error{1: fault.Failedf("switch sw-1 refuses")}
		const hint = "  the server goes on trying; see how with: power show\n"
		lab.tell([]step{
			{user: "bob", line: "node on rpi-1", status: StatusFailed, stderr: "walt: could not switch on rpi-1: switch sw-1 refuses\n" + hint},
			{
				user: "bob", line: "node wait rpi-1", status: StatusFailed,
				stderr: "Waking rpi-1, whose power could not be given before (switch sw-1 refuses).\nwalt: could not wake rpi-1: switch sw-1 refuses\n" + hint,
			},
		})
		lab.outlets.refuses = nil
		lab.tell([]step{{
			user: "bob", line: "node wait rpi-1 --timeout 1s", status: StatusFailed,
			stderr: "Waking rpi-1, whose power could not be given before (switch sw-1 refuses).\nWaiting for rpi-1 (booting).\n" +
				"walt: not up after 1s: rpi-1 (booting)\n  see what goes on with: node show --all\n",
		}})
		lab.store.Close()
	})
}

const settingsOfSwitches = "type, address, snmp.version, snmp.community, snmp.user, snmp.auth-protocol, snmp.auth-password, " +
	"snmp.priv-protocol, snmp.priv-password, lldp.explore, poe.reboots, poe.ports, switch, port"

func TestConfig(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "device add sw-1 --mac 52:54:00:00:09:01")
	lab.ok("bob", "node acquire rpi-2")
	lab.tell([]step{
		{
			user: "bob", line: "device config sw-1", stdout: "NAME  SETTING           VALUE\nsw-1  type              unknown\nsw-1  model             (not set)\nsw-1  switch            none\nsw-1  port              (not set)\nsw-1  power             poe\nsw-1  power.off         (not set)\nsw-1  power.first       soft\nsw-1  boot.console      auto\nsw-1  boot.reply-delay  auto\nsw-1  serial            none\n",
		},
		{
			user: "bob", line: "device config sw-1 address=10.0.0.2", status: StatusFailed,
			stderr: "walt: sw-1, which is of unknown type, has no setting address; nothing changed\n" +
				"  if it is a switch, say so first: type=switch\n  it has type, model, switch, port, power, power.off, power.first, boot.console, boot.reply-delay, serial\n",
		},
		{
			user: "bob", line: "device config sw-1 type=hub", status: StatusUsage,
			stderr: "walt: type cannot be \"hub\"; nothing changed\n  allowed: switch\n",
		},
		{
			user: "bob", line: "device config sw-1 type=switch snmp.version=2 snmp.community=s3cret", stdout: "sw-1 is configured\n",
		},
		{
			user: "bob", line: "device config sw-1 address=10.0.0.2 snmp.version=4", status: StatusUsage,
			stderr: "walt: unknown SNMP version \"4\"\n  allowed are 1, 2 and 3\n",
		},
		{
			user: "bob", line: "device config sw-1 poe.reboots=yes", status: StatusUsage,
			stderr: "walt: poe.reboots cannot be \"yes\"; nothing changed\n  allowed: true, false\n",
		},
		{
			user: "bob", line: "device config sw-1 poe.reboots=true", status: StatusFailed,
			stderr: "walt: switch sw-1 has no address; nothing changed\n  add: address=HOST\n",
		},
		{
			user: "bob", line: "device config sw-1 address=10.0.0.2 poe.reboots=true snmp.passwort=s3cret", status: StatusUsage,
			stderr: "walt: unknown setting \"snmp.passwort\"\n  allowed are " + settingsOfSwitches + "\n",
		},
		{
			user: "bob", line: "device config sw-1 snmp.comunity=s3cret", status: StatusUsage,
			stderr: "walt: unknown setting \"snmp.comunity\"\n  did you mean snmp.community?\n  allowed are " + settingsOfSwitches + "\n",
		},
		{user: "bob", line: "device config sw-1 lldp.explore=true lldp.explore=false", status: StatusUsage, stderr: "walt: lldp.explore is given twice\n"},
		{
			user: "bob", line: "device config sw-1 poe.reboots lldp.explore=true", status: StatusUsage,
			stderr: "walt: poe.reboots has no value\n  it looks like KEY=VALUE; to see settings, name them alone\n",
		},
		{user: "bob", line: "device config sw-1 poe.reboots", stdout: "NAME  SETTING      VALUE\nsw-1  poe.reboots  false\n"},
		{
			user: "bob", line: "device config sw-1 snmp.community snmp.user --json",
			stdout: `{"settings":[{"name":"sw-1","key":"snmp.community","value":null,"secret":true},{"name":"sw-1","key":"snmp.user","value":null,"secret":false}]}` + "\n",
		},
		{
			user: "bob", line: "node config rpi-1 boot.timeot", status: StatusUsage,
			stderr: "walt: unknown setting \"boot.timeot\"\n  did you mean boot.timeout?\n  allowed are model, switch, port, power, power.off, boot.timeout, boot.retries, boot.args, power.first, boot.console, boot.reply-delay, serial, boot.loader, boot.root, boot.rescue, ram.overlay, expose\n",
		},
		{
			user: "bob", line: "node config pc-1 expose 8080:80", status: StatusUsage,
			stderr: "walt: expose has no value\n  it looks like KEY=VALUE; to see settings, name them alone\n",
		},
		{
			user: "bob", line: "node config pc-1 expose=8080:80, 8081:81", status: StatusUsage,
			stderr: "walt: unknown setting \"8081:81\"\n  a list has no blanks, also not beside its commas and +\n",
		},
		{
			user: "bob", line: "device config rpi-1 power=usb:3 + usb:4", status: StatusUsage,
			stderr: "walt: unknown setting \"+\"\n  a list has no blanks, also not beside its commas and +\n",
		},
		{
			user: "bob", line: "node config pc-1 boot.args=quiet loglevel=3", status: StatusUsage,
			stderr: "walt: unknown setting \"loglevel\"\n  quote a value that has blanks, and the command for ssh: ssh walt@SERVER \"node config rpi-3 boot.args='quiet loglevel=3'\"\n",
		},
		{
			user: "bob", line: "node config expose=8080:80 pc-1", status: StatusUsage,
			stderr: "walt: node config: SET is missing, which comes before settings\n  usage: node config [--yes] [--no-input] [--json] SET [KEY[=VALUE]...]\n",
		},
		{
			user: "bob", line: "device config rpi-1 poe.port=1:1.1", status: StatusUsage,
			stderr: "walt: unknown setting \"poe.port\"\n  allowed are model, switch, port, power, power.off, boot.timeout, boot.retries, boot.args, power.first, boot.console, boot.reply-delay, serial, boot.loader, boot.root, boot.rescue, ram.overlay, expose\n",
		},
		{
			user: "bob", line: "device config rpi-1,sw-1 poe.port=1:1.1", status: StatusUsage,
			stderr: "walt: unknown setting \"poe.port\"\n  did you mean poe.ports?\n  allowed are type, model" + settingsOfSwitches[len("type"):] + ", power, power.off, boot.timeout, boot.retries, boot.args, power.first, boot.console, boot.reply-delay, serial, boot.loader, boot.root, boot.rescue, ram.overlay, expose\n",
		},
		{
			user: "bob", line: "device config nothing poe.port=1:1.1", status: StatusUsage,
			stderr: "walt: unknown setting \"poe.port\"\n  did you mean poe.ports?\n  allowed are " + strings.Join(nodes.SettingKeys(false), ", ") + "\n",
		},
		{
			user: "bob", line: "node config rpi-1,pc-1 cpu.cores", status: StatusFailed,
			stderr: "walt: rpi-1, which is a node, has no setting cpu.cores; nothing changed\n  it has model, switch, port, power, power.off, boot.timeout, boot.retries, boot.args, power.first, boot.console, boot.reply-delay, serial, boot.loader, boot.root, boot.rescue, ram.overlay, expose\n",
		},
		{
			user: "bob", line: "node config pc-1 cpu.cores=2 --json",
			stdout: `{"settings":[{"name":"pc-1","key":"cpu.cores","value":"2","secret":false}]}` + "\n",
		},
		{user: "bob", line: "node config pc-1 cpu.cores=1", stdout: "pc-1 is configured\n"},
		{user: "bob", line: "device config sw-1 address=10.0.0.2 lldp.explore=true poe.reboots=true", stdout: "sw-1 is configured\n"},
		{
			user: "bob", line: "device config sw-1",
			stdout: "NAME  SETTING             VALUE\n" +
				"sw-1  type                switch\n" +
				"sw-1  address             10.0.0.2:161\n" +
				"sw-1  snmp.version        2\n" +
				"sw-1  snmp.community      (set, not shown)\n" +
				"sw-1  snmp.user           (not set)\n" +
				"sw-1  snmp.auth-protocol  (not set)\n" +
				"sw-1  snmp.auth-password  (not set)\n" +
				"sw-1  snmp.priv-protocol  (not set)\n" +
				"sw-1  snmp.priv-password  (not set)\n" +
				"sw-1  lldp.explore        true\n" +
				"sw-1  poe.reboots         true\n" +
				"sw-1  poe.ports           auto\n" +
				"sw-1  switch              none\n" +
				"sw-1  port                (not set)\n",
		},
		{user: "bob", line: "device config sw-1 snmp.version=3 snmp.user=walt snmp.auth-protocol=SHA snmp.auth-password=authpass1 snmp.priv-protocol=AES snmp.priv-password=privpass1", stdout: "sw-1 is configured\n"},
		{
			user: "bob", line: "device config sw-1 snmp.auth-protocol=none", status: StatusFailed,
			stderr: "walt: switch sw-1 (10.0.0.2:161) needs an authentication protocol besides its privacy protocol\n" +
				"  set what is missing in the same command; snmp.auth-protocol=none and\n" +
				"  snmp.priv-protocol=none do without, and forget the passwords (see: help show power)\n",
		},
		{user: "bob", line: "device config sw-1 snmp.priv-protocol=none", stdout: "sw-1 is configured\n"},
		{user: "bob", line: "device config sw-1 snmp.auth-protocol=none", stdout: "sw-1 is configured\n"},
		{user: "bob", line: "device config sw-1 snmp.auth-password snmp.priv-password", stdout: "NAME  SETTING             VALUE\n" +
			"sw-1  snmp.auth-password  (not set)\n" +
			"sw-1  snmp.priv-password  (not set)\n"},
		{user: "bob", line: "device config sw-1 snmp.version=2", stdout: "sw-1 is configured\n"},
		{
			user: "bob", line: "device config rpi-1 port=3", status: StatusFailed,
			stderr: "walt: rpi-1 needs both a switch and a port; nothing changed\n  say both: device config rpi-1 switch=NAME port=N\n",
		},
		{
			user: "bob", line: "device config rpi-1 switch=rpi-2 port=3", status: StatusFailed,
			stderr: "walt: rpi-2 is not a switch that rpi-1 can be connected to; nothing changed\n  see what each device is with: device show\n",
		},
		{
			user: "bob", line: "device config rpi-1 switch=sw-1 port=Gi1/0/3", status: StatusFailed,
			stderr: "walt: the names of the ports of sw-1 are not known: it tells no names of its ports; nothing changed\n" +
				"  give the number of the port (see: help show power)\n",
		},
		{
			user: "bob", line: "device config rpi-1 switch=sw-1 port=0", status: StatusUsage,
			stderr: "walt: port cannot be \"0\"; nothing changed\n  allowed: the number of a port, or its name, as in Gi1/0/3\n",
		},
		{user: "bob", line: "device config rpi-1 switch=sw-1 port=3", stdout: "rpi-1 is configured\n"},
		{user: "carol", line: "device config rpi-2 switch=sw-1 port=10 --yes", stdout: "rpi-2 is configured\n"},
		{
			user: "carol", line: "node config rpi-2 boot.retries=1", stdin: "n\n", status: StatusInUse,
			stderr: "rpi-2 belongs to bob since 2026-11-22 12:00 UTC (just now); bob is not connected.\nConfigure rpi-2 anyway? [y/N] \nwalt: not confirmed; nothing changed\n",
		},
		{user: "carol", line: "node config rpi-2,pc-1 boot.timeout=90 boot.retries=0 --yes", stdout: "pc-1 is configured\nrpi-2 is configured\n"},
		{user: "carol", line: "node config pc-1 boot.delay=5s ram=2G cpu.cores=4", stdout: "pc-1 is configured\n"},
		{
			user: "carol", line: "node config pc-1",
			stdout: "NAME  SETTING       VALUE\npc-1  boot.timeout  1m30s\npc-1  boot.retries  0\npc-1  boot.args     none\npc-1  boot.loader   auto\npc-1  boot.delay    5s\npc-1  ram           2048M\npc-1  cpu.cores     4\npc-1  boot.root     auto\npc-1  boot.rescue   off\npc-1  ram.overlay   60%\npc-1  expose        none\n",
		},
		{user: "carol", line: "node config sw-1", status: StatusFailed, stderr: "walt: not a node: sw-1\n  see what each device is with: device show\n"},
		{
			user: "carol", line: "node config rpi-1,pc-1 ram=1G", status: StatusFailed,
			stderr: "walt: rpi-1, which is a node, has no setting ram; nothing changed\n  it has model, switch, port, power, power.off, boot.timeout, boot.retries, boot.args, power.first, boot.console, boot.reply-delay, serial, boot.loader, boot.root, boot.rescue, ram.overlay, expose\n",
		},
		{
			user: "bob", line: "power show",
			stdout: "SWITCH  PORT  NODE   POWER  STATE  SINCE  TROUBLE\nsw-1    3     rpi-1  on     on     -\nsw-1    10    rpi-2  on     on     -\nSaved so far: 0.0 port-hours\n",
		},
		{
			user: "bob", line: "power show rpi-2,pc-1",
			stdout: "SWITCH  PORT  NODE   POWER  STATE  SINCE  TROUBLE\nsw-1    10    rpi-2  on     on     -\nSaved so far: 0.0 port-hours\n",
		},
		{
			user: "bob", line: "power show sw-1",
			stdout: "SWITCH  PORT  NODE   POWER  STATE  SINCE  TROUBLE\nsw-1    3     rpi-1  on     on     -\nsw-1    10    rpi-2  on     on     -\nSaved so far: 0.0 port-hours\n",
		},
		{
			user: "bob", line: "power show pc-1", stdout: "Saved so far: 0.0 port-hours\n",
			stderr: "The server knows no port of these that it may switch. See: help show power\n",
		},
		{user: "bob", line: "power show rpi-1 --json", stdout: `{"ports":[{"switch":"sw-1","port":3,"port_name":null,"node":"rpi-1","power":"on","since":null,"error":null,"state":"on","state_reason":null,"last_error":null,"last_error_at":null}],"saved_port_hours":0}` + "\n"},
		{user: "bob", line: "power show rpi-7", status: StatusFailed, stderr: "walt: unknown device rpi-7\n  did you mean rpi-1 or rpi-2 instead of rpi-7?\n"},
		{
			user: "bob", line: "device tree",
			stdout: "sw-1 (switch, up)\n├─ 3: rpi-1 (node, off)\n└─ 10: rpi-2 (node, off)\non no known port\n└─ rpi-10 (node, off)\n",
		},
		{
			user: "bob", line: "device show explorable-switches --json",
			stdout: `{"devices":[{"name":"sw-1","type":"switch","model":null,"mac":"52:54:00:00:09:01","ip":"10.0.0.2","state":"up","state_reason":null,"switch":null,"port":null,"port_name":null,"step":null,"step_since":null,"reports_itself_as":null,"tags":[],"retired":null}]}` + "\n",
		},
	})
	lab.outlets.called = []snmp.PortName{
		{Port: 3, Name: "Gi1/0/3", Description: "GigabitEthernet1/0/3"}, {Port: 10, Name: "Gi1/0/10", Description: "uplink"}, {Port: 11, Description: "uplink"},
	}
	lab.tell([]step{
		{user: "bob", line: "device config rpi-1 port=gigabitethernet1/0/3", stdout: "rpi-1 is configured\n"},
		{user: "bob", line: "device config rpi-1 port", stdout: "NAME   SETTING  VALUE\nrpi-1  port     3 (Gi1/0/3)\n"},
		{user: "bob", line: "device config rpi-1 port --json", stdout: `{"settings":[{"name":"rpi-1","key":"port","value":"3","secret":false}]}` + "\n"},
		{
			user: "bob", line: "device config rpi-1 port=gi1/0/4", status: StatusFailed,
			stderr: "walt: no port of sw-1 is called \"gi1/0/4\"; nothing changed\n  did you mean Gi1/0/3 or Gi1/0/10?\n",
		},
		{
			user: "bob", line: "device config rpi-1 port=third", status: StatusFailed,
			stderr: "walt: no port of sw-1 is called \"third\"; nothing changed\n" +
				"  its ports are called Gi1/0/3, GigabitEthernet1/0/3, Gi1/0/10, uplink; a number is taken, too\n",
		},
		{
			user: "bob", line: "device config rpi-1 port=uplink", status: StatusFailed,
			stderr: "walt: several ports of sw-1 are called \"uplink\": 10, 11; nothing changed\n  give the number\n",
		},
		{
			user: "bob", line: "power show",
			stdout: "SWITCH  PORT           NODE   POWER  STATE  SINCE  TROUBLE\nsw-1    3 (Gi1/0/3)    rpi-1  on     on     -\n" +
				"sw-1    10 (Gi1/0/10)  rpi-2  on     on     -\nSaved so far: 0.0 port-hours\n",
		},
		{
			user: "bob", line: "device tree",
			stdout: "sw-1 (switch, up)\n├─ 3 (Gi1/0/3): rpi-1 (node, off)\n└─ 10 (Gi1/0/10): rpi-2 (node, off)\non no known port\n└─ rpi-10 (node, off)\n",
		},
	})
	lab.ok("bob", "device rename sw-1 core")
	if got := lab.ok("bob", "device show rpi-1"); !strings.Contains(got, "core    3 (Gi1/0/3)") {
		t.Errorf("after the switch was renamed: %s", got)
	}
	lab.ok("bob", "device forget core")
	lab.tell([]step{{
		user: "bob", line: "power show", stdout: "Saved so far: 0.0 port-hours\n",
		stderr: "The server knows no port that it may switch. See: help show power\n",
	}})
	if all := lab.ok("alice", "log show --history full --json") + lab.serverLog.String(); strings.Contains(all, "s3cret") {
		t.Errorf("a secret was told: %s", all)
	}
	var backup strings.Builder
	lab.must(state.Backup(context.Background(), lab.store, io.Writer(&backup)))
	if strings.Contains(backup.String(), "s3cret") {
		t.Error("the secret of a forgotten switch is still there")
	}
}

func TestConceal(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"node show": "node show",
		"device config sw-1 snmp.version=2 snmp.community=s3cret poe.reboots=true": "device config sw-1 snmp.version=2 snmp.community=(not shown)",
		`device config sw-1 "snmp.community=my s3cret"`:                            `device config sw-1 "snmp.community=(not shown)`,
		"walt device config sw-1 snmp.comunity=s3cret":                             "walt device config sw-1 snmp.comunity=(not shown)",
		"device config sw-1 snmp.auth-password=a snmp.priv-password=b":             "device config sw-1 snmp.auth-password=(not shown)",
		"device config sw-1 SNMP.Auth-Passwort=a":                                  "device config sw-1 SNMP.Auth-Passwort=(not shown)",
	} {
		if got := Conceal(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestPingAndBlink(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{user: "bob", line: "node ping rpi-1", status: StatusFailed, stderr: "walt: no answer from rpi-1 (it is off)\n  switch off and on by hand, since the server has no means to: rpi-1\n"},
		{user: "bob", line: "node blink rpi-1", status: StatusFailed, stderr: "walt: rpi-1 is not up (off)\n  wait for it with: node wait rpi-1\n"},
		{user: "bob", line: "node blink rpi-1 soon", status: StatusUsage, stderr: "walt: D: \"soon\" is not a length of time\n  it looks like 90s, 5m, 2h or 3d\n"},
	})
}
