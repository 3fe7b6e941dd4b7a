package snmp

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"walt/fault"
)

// port is a port of an agent: its number, its interface, what that is called, and
// the outlet that it is, if any.
type port struct {
	number, index int
	name, descr   string
	outlet        string
}

// chassis is the configuration of an agent with these ports, which are on.
func chassis(ports ...port) string {
	var b strings.Builder
	for _, p := range ports {
		if p.number > 0 {
			fmt.Fprintf(&b, "override %s.%d integer %d\n", dot1dBasePortIfIndex, p.number, p.index)
		}
		if p.index > 0 {
			fmt.Fprintf(&b, "override %s.%d integer 6\n", ifType, p.index)
		}
		if p.name != "" {
			fmt.Fprintf(&b, "override %s.%d octet_str %q\n", ifName, p.index, p.name)
		}
		if p.descr != "" {
			fmt.Fprintf(&b, "override %s.%d octet_str %q\n", ifDescr, p.index, p.descr)
		}
		if p.outlet != "" {
			fmt.Fprintf(&b, "override -rw %s.%s integer 1\n", adminEnable, p.outlet)
		}
	}
	return b.String()
}

// TestOutlets has switches that number their outlets in all the ways that there
// are, and turns a port off: that outlet is off, and no other.
func TestOutlets(t *testing.T) {
	t.Parallel()
	var stack []port // two boxes of three ports and an uplink
	for box := 1; box <= 2; box++ {
		for i := 1; i <= 3; i++ {
			stack = append(stack, port{
				(box-1)*50 + i, box*500 + 10100 + i, fmt.Sprintf("Gi%d/0/%d", box, i),
				fmt.Sprintf("GigabitEthernet%d/0/%d", box, i), fmt.Sprintf("%d.%d", box, i),
			})
		}
		stack = append(stack, port{box*50 - 1, box*500 + 10149, fmt.Sprintf("Te%d/1/1", box), "", ""})
	}
	renamed := func(format string, counts ...int) (ports []port) { // the counts: what is added to box and port
		for _, p := range stack {
			var box, i int
			if fmt.Sscanf(p.outlet, "%d.%d", &box, &i); box > 0 {
				p.descr, p.name = "", ""
				if format != "" {
					p.name = fmt.Sprintf(format, box+counts[0], i+counts[1])
				}
			}
			ports = append(ports, p)
		}
		return ports
	}
	letters := renamed("%[2]d", 0, 0)
	for i, p := range letters {
		if p.outlet != "" {
			letters[i].name = string("@AB"[p.outlet[0]-'0']) + p.name
		}
	}
	modules := func(index func(p port) int) (ports []port) { // whose outlets go on counting
		for _, p := range renamed("") {
			if p.outlet != "" {
				p.outlet = fmt.Sprintf("%c.%d", p.outlet[0], index(p))
			}
			ports = append(ports, p)
		}
		return ports
	}
	onlyOutlets := renamed("")
	var even []port
	for _, p := range onlyOutlets {
		if p.outlet != "" {
			even = append(even, p)
		}
	}
	cisco := chassis(renamed("")...)
	for i, entity := range []int{1006, 1005, 1004, 2006, 2005, 2004} { // in no order
		p := even[i]
		cisco += fmt.Sprintf("override %s.%s integer %d\n", cpeExtPsePortEntPhyIndex, p.outlet, entity)
		if i < 3 {
			cisco += fmt.Sprintf("override %s.%d.0 object_id .1.3.6.1.2.1.2.2.1.1.%d\n", entAliasMappingIdentifier, entity, even[2-i].index)
		} else {
			cisco += fmt.Sprintf("override %s.%d octet_str %q\n", entPhysicalName, entity, "the"+even[8-i].outlet)
			cisco += fmt.Sprintf("override %s.%d octet_str %q\n", ifDescr, even[8-i].index, "the"+even[8-i].outlet)
		}
	}
	for name, c := range map[string]struct {
		agent  string
		port   int
		outlet outlet
		adjust func(*Switch)
	}{
		"the second box of a stack": {agent: chassis(stack...), port: 52, outlet: outlet{2, 2}},
		"its first box":             {agent: chassis(stack...), port: 3, outlet: outlet{1, 3}},
		"by descriptions":           {agent: strings.ReplaceAll(chassis(stack...), ifName, ".1.3.6.1.2.1.31.1.1.1.99"), port: 52, outlet: outlet{2, 2}},
		"counted from 0":            {agent: chassis(renamed("ge-%d/0/%d", -1, -1)...), port: 53, outlet: outlet{2, 3}},
		"letters":                   {agent: chassis(letters...), port: 51, outlet: outlet{2, 1}},
		"by numbers of ports":       {agent: chassis(modules(func(p port) int { return p.number })...), port: 52, outlet: outlet{2, 52}},
		"by numbers of interfaces":  {agent: chassis(modules(func(p port) int { return p.index })...), port: 52, outlet: outlet{2, 11102}},
		"by order":                  {agent: chassis(even...), port: 52, outlet: outlet{2, 2}},
		"by entities":               {agent: cisco, port: 1, outlet: outlet{1, 3}},
		"by names of entities":      {agent: cisco, port: 51, outlet: outlet{2, 3}},
		"only group 1":              {agent: "override -rw " + adminEnable + ".1.3 integer 1\n", port: 3, outlet: outlet{1, 3}},
		"only another group": {agent: chassis(
			port{7, 107, "0/1", "", "3.1"}, port{8, 108, "0/2", "", "3.2"},
		), port: 8, outlet: outlet{3, 2}},
		"no bridge": {agent: chassis(
			port{0, 107, "Port 1", "", "1.1"}, port{0, 108, "Port 2", "", "1.2"},
		), port: 108, outlet: outlet{1, 2}},
		"a number that no port has": {agent: chassis(
			port{7, 107, "Port 201", "", "1.201"}, port{8, 108, "Port 202", "", "1.202"},
		), port: 202, outlet: outlet{1, 202}},
		"told by hand": {agent: chassis(onlyOutlets...), port: 52, outlet: outlet{2, 2}, adjust: func(sw *Switch) { sw.PoEPorts = "1-3:1.1,51-53:2.1" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adjust := c.adjust
			if adjust == nil {
				adjust = func(*Switch) {}
			}
			a := newAgent(t, c.agent)
			s := a.session(adjust)
			if err := s.SetPower(t.Context(), c.port, false); err != nil {
				t.Fatal(err)
			}
			rows, err := s.walk(t.Context(), adminEnable)
			if err != nil {
				t.Fatal(err)
			}
			for at, is := range byOutlet(rows) {
				if (is == isFalse) != (at == c.outlet) {
					t.Errorf("outlet %s is %d", at, is)
				}
			}
		})
	}
	t.Run("not told", func(t *testing.T) {
		t.Parallel()
		a := newAgent(t, chassis(onlyOutlets...))
		_, err := a.session().Power(t.Context(), 52)
		wantFault(t, err, "does not tell which of its PoE outlets (1.1-1.3, 2.1-2.3) port 52 is; its setting poe.ports may")
		_, err = newAgent(t, chassis(stack...)).session().Power(t.Context(), 49)
		wantFault(t, err, "port 49 (Te1/1/1) of switch sw-1", "has no PoE")
		_, err = newAgent(t, chassis(stack...)).session(func(sw *Switch) { sw.PoEPorts = "1:2.2" }).Power(t.Context(), 52)
		wantFault(t, err, "port 52 (Gi2/0/2) of switch sw-1", "has no PoE")
	})
}

func TestParsePoEPorts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]map[int]outlet{
		"29:2.1":            {28: {}, 29: {2, 1}, 30: {}},
		"1-24:1.1,29-52:2.": nil,
		"1-24:1.1,29-30:2.1": {
			0: {}, 1: {1, 1}, 24: {1, 24}, 25: {}, 29: {2, 1}, 30: {2, 2}, 31: {},
		},
		"":                   nil,
		"1":                  nil,
		"1:1":                nil,
		"0:1.1":              nil,
		"3-1:1.1":            nil,
		"1-9999:1.1":         nil,
		"1:1.1,1:1.2":        nil,
		"1-4:1.1,9:1.4":      nil,
		"1:1.1,":             nil,
		"1: 1.1":             nil,
		"1:1.99999999999999": nil,
	} {
		told, err := ParsePoEPorts(in)
		if f := fault.As(err); (want == nil) != (f != nil && f.Kind == fault.Usage) {
			t.Errorf("%q: %v", in, err)
		}
		for port, at := range want {
			if got, told := told.find(port); got != at || told != (at != outlet{}) {
				t.Errorf("%q: port %d is %v, %v", in, port, got, told)
			}
		}
	}
}

// FuzzLabel has names of ports of all kinds.
func FuzzLabel(f *testing.F) {
	for _, name := range []string{"Gi1/0/3", "ge-0/0/0", "A1", "10GigabitEthernet1/0/1", "Slot: 1 Port: 3", "", "99999999999999999999"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		l := labelOf(name)
		if !strings.HasPrefix(name, l.kind) {
			t.Errorf("%q begins with %q", name, l.kind)
		}
		l.outlet(0)
	})
}

// TestLearnedOnce has many who ask a session at its beginning: the tables are read
// for all of them once.
func TestLearnedOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	a := newAgent(t, twoPorts)
	s := session(t, picky(t, a.Address, func(p *gosnmp.SnmpPacket) (*gosnmp.SnmpPacket, bool) {
		if p.PDUType == gosnmp.GetBulkRequest && p.Variables[0].Name == adminEnable {
			asked.Add(1)
		}
		return nil, true
	}), func(sw *Switch) { sw.Timeout = time.Minute })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if on, err := s.Power(t.Context(), 2); err != nil || !on {
				t.Errorf("%v, %v", on, err)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the table was read %d times", n)
	}
}
