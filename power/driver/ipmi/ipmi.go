// Package ipmi switches servers by their BMCs, over IPMI 2.0 on a network (RMCP+). A session
// is encrypted and signed by cipher suite 17 or, with a BMC that does not know it, 3; it has
// the privilege of an operator, and ends with what it was begun for. Its one surprising rule:
// who answers as if less were agreed on, as suite 0, or without a signature, is not believed.
package ipmi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"walt/fault"
	"walt/power/driver"
)

// BMCs are those that have the same user.
type BMCs struct {
	User, Password string
}

const (
	port = "623" // of RMCP+
	// answerLimit is how long one answer may take. Nothing is asked twice in a session: packets
	// do get lost, but who calls tries again, in a session of its own.
	answerLimit = 3 * time.Second
	// Bytes that a BMC takes (IPMI 2.0, sections 13.20 and 22.30).
	mostUser, mostPassword = 16, 20
)

// Check fails when no BMC can have such a user.
func (b BMCs) Check() error {
	switch {
	case b.User == "":
		return fault.Usagef("user: is missing; want that of the BMCs")
	case len(b.User) > mostUser:
		return fault.Usagef("user: has %d bytes; a BMC has room for %d", len(b.User), mostUser)
	case len(b.Password) > mostPassword:
		return fault.Usagef("password_file: the password has %d bytes; a BMC has room for %d", len(b.Password), mostPassword)
	}
	return nil
}

// CheckPort implements driver.Porter.
func (b BMCs) CheckPort(p string) error { return driver.CheckBMCPort(p, port) }

// Status implements driver.Means. The port is that of UDP, 623 when there is none.
func (b BMCs) Status(ctx context.Context, t driver.Target) (is driver.State, err error) {
	err = b.with(ctx, t, func(s *session) error {
		on, err := s.on()
		if is = driver.Off; on {
			is = driver.On
		}
		return err
	})
	if err != nil {
		return driver.Unknown, err
	}
	return is, nil
}

// Switch implements driver.Means: off is at once.
func (b BMCs) Switch(ctx context.Context, t driver.Target, on bool) error {
	var way byte
	if on {
		way = 1
	}
	return b.with(ctx, t, func(s *session) error {
		_, err := s.command(onChassis, control, way)
		if errors.Is(err, notNow) { // some say so when it is as wanted
			if is, asked := s.on(); asked == nil && is == on {
				return nil
			}
		}
		return err
	})
}

// on reports whether the server has power.
func (s *session) on() (bool, error) {
	status, err := s.command(onChassis, getStatus)
	if err == nil && len(status) < 3 {
		err = errGarbage
	}
	return err == nil && status[0]&1 != 0, err
}

// Close implements driver.Means: no session lasts.
func (BMCs) Close() error { return nil }

// with calls do within a session.
func (b BMCs) with(ctx context.Context, t driver.Target, do func(*session) error) error {
	var err error
	for _, by := range []suite{suite17, suite3} {
		if err = b.by(ctx, t, by, do); !errors.Is(err, errSuite) {
			break
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("ask the BMC at %s: %w", t.Host, ctx.Err())
	}
	if ctx.Err() != nil {
		err = net.ErrClosed
	}
	return b.words(t.Host, err)
}

// by is with, by one suite.
func (b BMCs) by(ctx context.Context, t driver.Target, by suite, do func(*session) error) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(t.Host, cmp.Or(t.Port, port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s, err := b.begin(conn, by)
	if err != nil {
		return err
	}
	err = do(s)
	s.close()
	return err
}

// What a session fails for.
var (
	errSuite   = errors.New("it does not know the cipher suite")
	errUser    = errors.New("it does not let the user in")
	errKey     = errors.New("it has another key than the password")
	errGarbage = errors.New("its answer is not one of IPMI")
	errWeak    = errors.New("what it says is less safe than what was asked for")
	errBusy    = errors.New("it has no room for one more session")
	errRole    = errors.New("the user may not work as an operator")
)

// refusal is why a session is not opened (IPMI 2.0, table 13-15).
func refusal(code byte) error {
	switch code {
	case 0x01, 0x0b:
		return errBusy
	case 0x04, 0x05, 0x06, 0x07, 0x10, 0x11:
		return errSuite
	case 0x0c, 0x0d, 0x0f:
		return errUser
	case 0x09, 0x0a:
		return errRole
	}
	return status(code)
}

// status is a rare reason for that.
type status byte

func (s status) Error() string { return fmt.Sprintf("RMCP+ status %#02x", byte(s)) }

// lost reports whether an error is that no answer came.
func lost(err error) bool {
	_, is := errors.AsType[net.Error](err)
	return is || errors.Is(err, net.ErrClosed)
}

// words are an error for users.
func (b BMCs) words(host string, err error) error {
	said := func(what, hint string) error {
		return fault.Failedf("the BMC at %s %s", host, what).WithHint("%s", hint)
	}
	no := func(what, hint string) error { return driver.Refusal{Err: said(what, hint)} }
	code, answered := errors.AsType[completion](err)
	why, closed := errors.AsType[status](err)
	dns, unnamed := errors.AsType[*net.DNSError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, errSuite):
		return no("knows neither cipher suite 17 nor 3", "allow one of them in its settings; older ones are not safe")
	case errors.Is(err, errWeak):
		return no("answers less safely than it was asked to", "look after it: it may be somebody else who answers")
	case errors.Is(err, errUser):
		return no("does not let user "+b.User+" in", "correct the user of the driver, or what its password file holds")
	case errors.Is(err, errKey):
		return no("has a key for sessions (Kg) that is not the password of user "+b.User, "take that key out of its settings")
	case errors.Is(err, errRole):
		return no("does not let user "+b.User+" work as an operator", "give the user that privilege, over the network")
	case errors.Is(err, errBusy):
		return said("has no room for one more session", "wait a minute for it to forget old ones, or restart it")
	case closed:
		return no(fmt.Sprintf("opens no session (%v)", why), "its own log may say why")
	case answered && code.passes():
		return said(fmt.Sprintf("cannot do it now (%v)", code), "its own log may say why")
	case answered:
		return no(fmt.Sprintf("refuses (%v)", code), "its own log may say why")
	case unnamed:
		return driver.Silent(fault.Failedf("the BMC at %s: its name is not known: %s", host, dns.Err).WithHint(driver.NameHint))
	case isOp && !op.Timeout() && !errors.Is(err, net.ErrClosed):
		return driver.Silent(said("cannot be reached: "+op.Err.Error(), "check its address, and that IPMI over LAN is turned on"))
	case lost(err):
		return driver.Silent(said("does not answer", "check its address, and that IPMI over LAN is turned on"))
	}
	return said("sent an invalid answer", "check its address: it may be something else that answers")
}
