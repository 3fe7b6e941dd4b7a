package snmp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/gosnmp/gosnmp"

	"walt/fault"
)

// usmStats is the BER encoding of the OID .1.3.6.1.6.3.15.1.1, but for the two
// numbers that follow: a counter of errors, and 0.
var usmStats = []byte{0x06, 0x0a, 0x2b, 6, 1, 6, 3, 15, 1, 1}

// reports are the counters with which an agent of version 3 says that it does
// not accept who is asking (RFC 3414, section 5): asking again does not help.
var reports = map[byte]string{
	1: "does not offer its SNMP user %s these protocols: an authentication or privacy protocol is missing, there or here",
	3: "has no SNMP user %s",
	5: "says that the authentication password of its SNMP user %s, or the protocol, is wrong",
	6: "says that the privacy password of its SNMP user %s, or the protocol, is wrong",
}

// denied returns a fault if the packet is such a report. It cannot be decoded
// in earnest: it is not signed, so that gosnmp refuses to.
func (s *Session) denied(packet []byte) *fault.Error {
	_, counter, found := bytes.Cut(packet, usmStats)
	if !found || len(counter) < 2 || counter[1] != 0 {
		return nil
	}
	reason, known := reports[counter[0]]
	if !known {
		return nil
	}
	return fault.Failedf("%s "+reason, s, s.sw.User).WithHint("correct the SNMP user, its passwords or its protocols")
}

// errIgnored is when an agent of version 3 told its engine ID, so it is there,
// but did not answer the question.
var errIgnored = errors.New("it answers, but not to this user")

// Silence is the error of an agent that nobody hears, whatever it is asked for.
type Silence struct{ Err error }

func (s Silence) Error() string { return s.Err.Error() }

func (s Silence) Unwrap() error { return s.Err }

// unreachable says why no try brought an answer.
func (s *Session) unreachable(err error) error {
	if errors.Is(err, errIgnored) {
		return fault.Failedf("%s answers, but not to the SNMP user %s", s, s.sw.User).
			WithHint("correct the user's privacy password or protocol: wrong ones may be answered with silence")
	}
	if errors.Is(err, gosnmp.ErrMaxRetriesExceeded) {
		return Silence{s.silent("does not answer SNMP requests")}
	}
	const hint = "check its address, and that it is on and has SNMP turned on"
	if errors.Is(err, syscall.ECONNREFUSED) {
		return Silence{fault.Failedf("%s has nothing that answers SNMP requests (connection refused)", s).WithHint(hint)}
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return Silence{fault.Failedf("%s: its name is not known: %s", s, dns.Err).WithHint("see how its name is written, and that DNS knows it where the server runs")}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return Silence{fault.Failedf("cannot reach %s: %v", s, op.Err).WithHint(hint)}
	}
	reason, _, _ := strings.Cut(err.Error(), " Stack:")
	return fault.Failedf("%s sent an invalid SNMP reply: %s", s, reason).WithHint(hint)
}

// silent is the fault of a switch that does not answer, with what that can mean.
func (s *Session) silent(what string) *fault.Error {
	hint := fmt.Sprintf("check its address, that it is on, and that it has version %d of SNMP turned on for this server", s.sw.Version)
	if s.sw.Version != V3 {
		hint += "\na wrong community is answered with silence as well"
	}
	if s.sw.Version == V2 {
		hint += ", and so is version 2 by a " + s.sw.kind() + " that knows only version 1"
		if s.sw.Kind == "" {
			hint += " (snmp.version=1)"
		}
	}
	return fault.Failedf("%s %s", s, what).WithHint("%s", hint)
}

// ended is the error of a request whose context ended; a deadline is no
// interruption but the patience that the switch was shown.
func (s *Session) ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("ask %s: %w", s, ctx.Err())
	}
	return s.silent("did not answer in time")
}

// declined is refused, in a Refusal unless asking again may help: it may have been busy.
func (s *Session) declined(what string, status gosnmp.SNMPError) error {
	switch status {
	case gosnmp.GenErr, gosnmp.ResourceUnavailable, gosnmp.CommitFailed, gosnmp.UndoFailed:
		return s.refused(what, status)
	}
	return Refusal{s.refused(what, status)}
}

// refused says that the agent answered a request with an error (RFC 3416,
// section 3). what tells what it does not do.
func (s *Session) refused(what string, status gosnmp.SNMPError) *fault.Error {
	f := fault.Failedf("%s %s (%v)", s, what, status)
	switch status {
	case gosnmp.NoSuchName, gosnmp.ReadOnly, gosnmp.NoAccess, gosnmp.NoCreation, gosnmp.NotWritable, gosnmp.AuthorizationError:
		if s.sw.Version == V3 {
			return f.WithHint("allow the SNMP user %s to do so on the %s, or choose another user", s.sw.User, s.sw.kind())
		}
		return f.WithHint("allow its SNMP community to do so on the %s, or choose another community", s.sw.kind())
	}
	return f.WithHint("the %s's own log may say why", s.sw.kind())
}
