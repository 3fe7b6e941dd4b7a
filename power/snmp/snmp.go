package snmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gosnmp/gosnmp"

	"walt/fault"
	"walt/pause"
)

// Session speaks to one switch, one request at a time. It may be used by many
// goroutines, whose requests then take turns.
type Session struct {
	sw     Switch
	host   string
	port   uint16
	limit  time.Duration // for the first try of a request
	tries  int           // of a request
	settle time.Duration // between two looks at a port that was written
	rows   atomic.Uint32 // of a table that are asked for at once

	learning chan struct{} // holds an element while somebody reads what is read once
	learned  sync.Mutex    // guards that
	ports    *interfaces   // nil before they were read
	outlets  *outlets      // likewise

	turn   chan struct{} // holds an element while somebody asks; guards the rest
	line   *line         // nil before the first request and after a failed one
	closed bool
}

// line is a connection to the switch's agent, with what it has found out.
type line struct {
	*gosnmp.GoSNMP
	tap *tap
}

// Open returns a session with the switch. It sends nothing: a fault is about
// settings that are missing or malformed.
func Open(sw Switch) (*Session, error) {
	host, port, err := splitAddress(sw.Address)
	if err != nil {
		return nil, err
	}
	if err := sw.check(); err != nil {
		return nil, err
	}
	s := &Session{
		sw: sw, host: host, port: port,
		limit: sw.Timeout, tries: 3, settle: 250 * time.Millisecond,
		turn: make(chan struct{}, 1), learning: make(chan struct{}, 1),
	}
	if s.limit <= 0 {
		s.limit = time.Second
	}
	s.rows.Store(sizes[0])
	if sw.Version == V1 { // which has no GETBULK
		s.rows.Store(1)
	}
	return s, nil
}

// Close ends the session, after the request that is under way.
func (s *Session) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.closed = true
	s.hangUp()
	return nil
}

// String names the switch, without its secrets.
func (s *Session) String() string { return s.sw.String() }

// GoString keeps the secrets out of %#v.
func (s *Session) GoString() string { return s.sw.String() }

// question sends one request and waits for its answer.
type question func(*gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error)

// ask has a question answered, with as many tries as it takes: packets get
// lost, and agents restart. The answer may well be a refusal.
func (s *Session) ask(ctx context.Context, q question) (*gosnmp.SnmpPacket, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, s.ended(ctx)
	}
	if s.closed {
		return nil, fmt.Errorf("ask %s: the session is closed", s)
	}
	limit := s.limit
	for try := 1; ; try++ {
		answer, err := s.try(ctx, limit, q)
		switch {
		case err == nil:
			return answer, nil
		case over(ctx):
			return nil, s.ended(ctx)
		case fault.As(err) != nil:
			return nil, err
		case try == s.tries:
			return nil, s.unreachable(err)
		case errors.Is(err, syscall.ECONNREFUSED): // at once: it may be restarting
			if pause.For(ctx, limit/4) != nil {
				return nil, s.ended(ctx)
			}
		}
		limit *= 2
	}
}

// try asks once. A line on which anything went wrong is not used again: an
// agent may have come back with another address or engine ID, and an answer
// that comes too late must not be taken for one to the next question.
func (s *Session) try(ctx context.Context, limit time.Duration, q question) (*gosnmp.SnmpPacket, error) {
	if s.line == nil {
		l, err := s.connect(ctx, limit)
		if err != nil {
			return nil, err
		}
		s.line = l
	}
	l := s.line
	l.Context, l.Timeout = ctx, limit
	stop := context.AfterFunc(ctx, func() { l.tap.Close() }) // gosnmp looks at ctx between tries only
	answer, err := q(l.GoSNMP)
	if err == nil && answer.PDUType != gosnmp.GetResponse {
		err = fmt.Errorf("the answer is a %v", answer.PDUType)
	}
	if !stop() || err != nil {
		s.hangUp()
	}
	if err != nil && s.sw.Version == V3 {
		if f := s.denied(l.tap.last); f != nil {
			return nil, Refusal{f}
		}
		if l.tap.heard && errors.Is(err, gosnmp.ErrMaxRetriesExceeded) {
			err = errIgnored
		}
	}
	return answer, err
}

func (s *Session) hangUp() {
	if s.line != nil {
		s.line.tap.Close()
		s.line = nil
	}
}

func (s *Session) connect(ctx context.Context, limit time.Duration) (*line, error) {
	client := &gosnmp.GoSNMP{
		Target: s.host, Port: s.port, Context: ctx, Timeout: limit,
		Version: gosnmp.Version2c, Community: s.sw.Community,
	}
	switch s.sw.Version {
	case V1:
		client.Version = gosnmp.Version1
	case V3:
		client.Version = gosnmp.Version3
		s.sw.identify(client)
	}
	if err := client.Connect(); err != nil {
		return nil, err
	}
	t := &tap{Conn: client.Conn}
	client.Conn = t
	return &line{client, t}, nil
}

// identify gives the client the user of version 3.
func (sw Switch) identify(client *gosnmp.GoSNMP) {
	client.SecurityModel = gosnmp.UserSecurityModel
	client.MsgFlags = gosnmp.NoAuthNoPriv
	user := &gosnmp.UsmSecurityParameters{
		UserName:               sw.User,
		AuthenticationProtocol: gosnmp.NoAuth, AuthenticationPassphrase: sw.AuthPassword,
		PrivacyProtocol: gosnmp.NoPriv, PrivacyPassphrase: sw.PrivPassword,
	}
	if i := slices.Index(authProtocols, sw.AuthProtocol); i >= 0 { // gosnmp numbers them in the same order
		client.MsgFlags = gosnmp.AuthNoPriv
		user.AuthenticationProtocol = gosnmp.MD5 + gosnmp.SnmpV3AuthProtocol(i)
	}
	if i := slices.Index(privProtocols, sw.PrivProtocol); i >= 0 {
		client.MsgFlags = gosnmp.AuthPriv
		user.PrivacyProtocol = gosnmp.DES + gosnmp.SnmpV3PrivProtocol(i)
	}
	client.SecurityParameters = user
}

// tap remembers the last packet that came since one was sent: gosnmp discards
// reports that are not signed, but only they tell a wrong password from silence.
type tap struct {
	net.Conn
	last  []byte
	heard bool // any packet at all came
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if err == nil {
		t.last, t.heard = append(t.last[:0], b[:n]...), true
	}
	return n, err
}

func (t *tap) Write(b []byte) (int, error) {
	t.last = t.last[:0]
	return t.Conn.Write(b)
}

// over reports whether ctx has ended, or its deadline has passed and it is about
// to: a socket with the same deadline may be a little faster.
func over(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return ctx.Err() != nil || has && !time.Now().Before(deadline)
}
