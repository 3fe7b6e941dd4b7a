// Package pdu switches the outlets of power distribution units over SNMP: an outlet is an
// integer at an OID. What differs between makers is in profiles.toml. Its one surprising
// rule: a state that is neither on nor off is no error, since many are on their way for seconds.
package pdu

import (
	"context"
	"errors"
	"time"

	"walt/fault"
	"walt/power/driver"
	"walt/power/snmp"
)

// PDUs are devices of one profile, which let the same user in.
type PDUs struct {
	access  snmp.Switch
	profile Profile
}

// firstAnswer is how long the first packet of a request waits for an answer, and the second
// twice as long, within the 10 s of a request. Agents that are slower do all of it twice.
const firstAnswer = 2 * time.Second

// New returns PDUs; access says how they are spoken to, and its address is that of the
// device where outlets do not name it. A fault says what is wrong with the settings.
func New(access snmp.Switch, p Profile) (*PDUs, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	access.Kind = "PDU"
	if access.Timeout == 0 {
		access.Timeout = firstAnswer
	}
	d := &PDUs{access, p}
	at := access.Address
	if at == "" {
		at = "192.0.2.1" // outlets name it: the rest can be checked
	}
	s, err := d.open(at)
	if err != nil {
		return nil, err
	}
	return d, s.Close()
}

func (d *PDUs) open(host string) (*snmp.Session, error) {
	access := d.access
	if host != "" {
		access.Address = host
	}
	return snmp.Open(access)
}

// Status implements driver.Means.
func (d *PDUs) Status(ctx context.Context, t driver.Target) (driver.State, error) {
	state := driver.Unknown
	err := d.with(t, func(s *snmp.Session) error {
		value, err := s.Integer(ctx, object(d.profile.StatusOID, d.profile.OID, t.Port))
		switch on, off := d.profile.reads(); {
		case err != nil:
		case value == on:
			state = driver.On
		case value == off:
			state = driver.Off
		}
		return err
	})
	return state, err
}

// Switch implements driver.Means.
func (d *PDUs) Switch(ctx context.Context, t driver.Target, on bool) error {
	return d.with(t, func(s *snmp.Session) error {
		if on {
			return s.SetInteger(ctx, object(d.profile.OID, "", t.Port), d.profile.On)
		}
		return s.SetInteger(ctx, object(d.profile.OffOID, d.profile.OID, t.Port), d.profile.Off)
	})
}

// Close implements driver.Means; nothing is open between requests.
func (d *PDUs) Close() error { return nil }

// CheckPort implements driver.Porter.
func (d *PDUs) CheckPort(port string) error {
	if !portForm.MatchString(port) {
		return fault.Usagef("a PDU has no outlet %q", port).
			WithHint("an outlet is a number, as in %s:7, or some with dots between", d.access.Name)
	}
	return nil
}

// with calls f with a session of its own with the device.
func (d *PDUs) with(t driver.Target, f func(*snmp.Session) error) error {
	if err := d.CheckPort(t.Port); err != nil {
		return driver.Refusal{Err: err}
	}
	s, err := d.open(t.Host)
	if err != nil {
		return driver.Refusal{Err: err}
	}
	defer s.Close()
	err = f(s)
	if refused, is := errors.AsType[snmp.Refusal](err); is {
		return driver.Refusal{Err: refused.Err}
	}
	if silent, is := errors.AsType[snmp.Silence](err); is {
		return driver.Silent(silent.Err)
	}
	return err
}
