package snmp

import (
	"context"
	"fmt"
	"strings"

	"github.com/gosnmp/gosnmp"

	"walt/fault"
)

// Object is an integer that an agent has.
type Object struct {
	OID   string // in numbers, with or without a dot before
	Words string // what faults call it, as in "outlet 7"
}

// oid is the OID as answers have it.
func (o Object) oid() string { return "." + strings.TrimPrefix(o.OID, ".") }

// Integer reads the object. One that is not there, or is no integer, is a fault
// in a Refusal.
func (s *Session) Integer(ctx context.Context, o Object) (int, error) {
	answer, err := s.ask(ctx, func(c *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) {
		return c.Get([]string{o.oid()})
	})
	switch {
	case err != nil:
		return 0, err
	case answer.Error == gosnmp.NoSuchName:
		return 0, s.lacks(o)
	case answer.Error != gosnmp.NoError || len(answer.Variables) != 1:
		return 0, s.declined("does not tell of "+o.Words, answer.Error)
	}
	switch v := answer.Variables[0]; {
	case v.Name != o.oid():
		return 0, fault.Failedf("%s was asked for %s, and tells of %s", s, o.OID, told(v.Name)).
			WithHint("the %s's own log may say why", s.sw.kind())
	case v.Type == gosnmp.NoSuchObject, v.Type == gosnmp.NoSuchInstance, v.Type == gosnmp.EndOfMibView:
		return 0, s.lacks(o)
	case v.Type == gosnmp.Integer:
		return v.Value.(int), nil
	case v.Type == gosnmp.Gauge32, v.Type == gosnmp.Uinteger32:
		return int(gosnmp.ToBigInt(v.Value).Int64()), nil
	default:
		return 0, Refusal{fault.Failedf("%s has no integer for %s but %s", s, o.Words, told(v.Value)).
			WithHint("the OID %s is another device's: see its MIB", o.OID)}
	}
}

// SetInteger writes the object. That the agent took the value does not say that
// anything comes of it. What the agent refuses, and would once more, is a fault in a Refusal.
func (s *Session) SetInteger(ctx context.Context, o Object, value int) error {
	answer, err := s.ask(ctx, func(c *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) {
		return c.Set([]gosnmp.SnmpPDU{{Name: o.oid(), Type: gosnmp.Integer, Value: value}})
	})
	switch {
	case err != nil:
		return err
	case answer.Error != gosnmp.NoError:
		return s.declined(fmt.Sprintf("refuses to set %s to %d", o.Words, value), answer.Error)
	}
	return nil
}

// lacks says that there is no such object, or that it is not shown.
func (s *Session) lacks(o Object) error {
	return Refusal{fault.Failedf("%s has no %s", s, o.Words).
		WithHint("it has nothing at the OID %s, or does not show it to this user or community", o.OID)}
}
