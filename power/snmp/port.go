package snmp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gosnmp/gosnmp"

	"walt/fault"
	"walt/pause"
)

// Columns of pethPsePortTable (RFC 3621), by outlet.
const (
	adminEnable     = ".1.3.6.1.2.1.105.1.1.1.3" // TruthValue
	detectionStatus = ".1.3.6.1.2.1.105.1.1.1.6"
)

// TruthValue (RFC 2579).
const (
	isTrue  = 1
	isFalse = 2
)

// CyclePause is how long a port is off in a power cycle, unless there is a
// reason for another time: long enough for a node's capacitors to run empty.
const CyclePause = 2 * time.Second

// Port is a PoE port.
type Port struct {
	Number    int
	On        bool // it may give power
	Detection Detection
}

// Detection is what a port has found at the other end of its cable
// (pethPsePortDetectionStatus). The zero Detection is unknown.
type Detection int

const (
	Disabled Detection = iota + 1
	Searching
	Delivering // power flows
	Faulty
	Testing
	OtherFault
)

func (d Detection) String() string {
	names := [...]string{"unknown", "disabled", "searching", "delivering power", "fault", "test", "other fault"}
	if d < 0 || int(d) >= len(names) {
		d = 0
	}
	return names[d]
}

// Power reports whether the port may give power. A port that is no PoE port is
// a fault.
func (s *Session) Power(ctx context.Context, port int) (on bool, err error) {
	at, err := s.outlet(ctx, port)
	if err != nil {
		return false, err
	}
	answer, err := s.ask(ctx, func(c *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) {
		return c.Get([]string{oidOf(adminEnable, at)})
	})
	if err != nil {
		return false, err
	}
	switch {
	case answer.Error == gosnmp.NoSuchName:
		return false, s.noPoE(port)
	case answer.Error != gosnmp.NoError || len(answer.Variables) != 1:
		return false, s.refused(fmt.Sprintf("does not say whether %s has power", s.words(port)), answer.Error)
	}
	switch v := answer.Variables[0]; {
	case v.Name != oidOf(adminEnable, at):
		return false, Refusal{fault.Failedf("%s was asked for the power of %s, and tells of %s", s, s.words(port), told(v.Name)).
			WithHint("the switch's own log may say why")}
	case v.Type == gosnmp.NoSuchObject, v.Type == gosnmp.NoSuchInstance:
		return false, s.noPoE(port)
	case v.Value == isTrue:
		return true, nil
	case v.Value == isFalse:
		return false, nil
	default:
		return false, fault.Failedf("%s says of the power of %s neither on nor off but %s", s, s.words(port), told(v.Value))
	}
}

// told is what an agent sent in the place of one number or another, for people.
func told(value any) string {
	if text, is := value.([]byte); is {
		return fmt.Sprintf("%.40q", text)
	}
	return fmt.Sprintf("%.80s", fmt.Sprint(value)) // as of an OID, which has no end
}

// SetPower gives the port its power or cuts it, and returns when the switch
// says that it did so. A switch that accepts the change and does not make it
// within a second is a fault.
func (s *Session) SetPower(ctx context.Context, port int, on bool) error {
	value := isFalse
	if on {
		value = isTrue
	}
	at, err := s.outlet(ctx, port)
	if err != nil {
		return err
	}
	answer, err := s.ask(ctx, func(c *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) {
		return c.Set([]gosnmp.SnmpPDU{{Name: oidOf(adminEnable, at), Type: gosnmp.Integer, Value: value}})
	})
	if err != nil {
		return err
	}
	if answer.Error != gosnmp.NoError {
		if _, err := s.Power(ctx, port); err != nil { // says so of a port without PoE
			return err
		}
		return s.refused(fmt.Sprintf("refuses to turn the power of %s %s", s.words(port), word(on)), answer.Error)
	}
	for look := 0; ; look++ {
		is, err := s.Power(ctx, port)
		switch {
		case err != nil:
			return err
		case is == on:
			return nil
		case look == 4:
			return fault.Failedf("%s accepted to turn the power of %s %s, but it is still %s", s, s.words(port), word(on), word(is)).
				WithHint("the port may be locked by the switch's own settings, or out of its power budget")
		}
		if err := pause.For(ctx, s.settle); err != nil {
			return s.ended(ctx)
		}
	}
}

// Cycle cuts the port's power for a while, CyclePause as a rule, and gives it
// back. Once it has begun, the end of ctx cuts only the pause short: the power
// is given back before Cycle returns, or the fault says that it is not.
func (s *Session) Cycle(ctx context.Context, port int, off time.Duration) error {
	was, err := s.Power(ctx, port)
	if err != nil {
		return err
	}
	whole := context.WithoutCancel(ctx)
	cut := s.SetPower(whole, port, false)
	var interrupted error
	if cut == nil && pause.For(ctx, off) != nil {
		interrupted = fmt.Errorf("power cycle %s of %s: %w", s.words(port), s, ctx.Err())
	}
	given := s.SetPower(whole, port, true)
	switch {
	case cut != nil && given != nil: // a refusal, or a silence that may hide that it was cut
		is, err := s.Power(whole, port)
		if err == nil && (is || is == was) {
			return cut
		} else if err != nil {
			return fault.Failedf("%s may be left without power: %v", s.words(port), cut).
				WithHint("see whether it is on, and turn it on again, as soon as the switch answers")
		}
		fallthrough
	case given != nil:
		return fault.Failedf("%s is left without power: %v", s.words(port), given).
			WithHint("turn it on again as soon as the switch lets you")
	case cut != nil:
		return cut
	}
	return interrupted
}

// Ports returns the PoE ports in the order of their numbers; none if the switch
// has none or does not show them. It leaves out those whose number is not known.
func (s *Session) Ports(ctx context.Context) ([]Port, error) {
	known, err := s.readOutlets(ctx)
	if err != nil {
		return nil, err
	}
	tables := make([]map[outlet]int, 2)
	for i, column := range []string{adminEnable, detectionStatus} {
		rows, err := s.walk(ctx, column)
		if err != nil {
			return nil, err
		}
		tables[i] = byOutlet(rows)
	}
	var ports []Port
	for port, at := range known.of {
		ports = append(ports, Port{port, tables[0][at] == isTrue, Detection(tables[1][at])})
	}
	slices.SortFunc(ports, func(a, b Port) int { return cmp.Compare(a.Number, b.Number) })
	return ports, nil
}

func oidOf(column string, at outlet) string { return fmt.Sprintf("%s.%s", column, at) }

func word(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
