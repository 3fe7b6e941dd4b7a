package console

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"walt/pause"
)

// Commands of telnet, see RFC 854; each comes behind an iac.
const (
	subEnd   byte = 240 // SE
	breakKey byte = 243 // BRK
	subBegin byte = 250 // SB
	will     byte = 251
	wont     byte = 252
	do       byte = 253
	dont     byte = 254
	iac      byte = 255
)

// option is one that the two ends of a telnet connection agree on, or not.
type option byte

// The options that are used; all others are refused.
const (
	binary     option = 0  // RFC 856: bytes of all kinds, and a CR is one of them
	echo       option = 1  // RFC 857
	noGoAhead  option = 3  // RFC 858: both may send at any time
	serialPort option = 44 // RFC 2217: who connects may steer the serial line
)

// What of RFC 2217 is sent.
const (
	setControl byte = 5
	breakOn    byte = 5
	breakOff   byte = 6
)

const (
	// longestSub is how many bytes of a subnegotiation are skipped: those of serial lines
	// have some ten.
	longestSub = 4 << 10
	// What a peer asks for without end is answered so often, and once for each option that
	// there can be at once; then it is hung up on, as it may take each answer for a question.
	answerRate, answerBurst = 10, 512
)

var (
	errEndless = errors.New("the other end does not speak telnet: it begins what it does not end")
	errLoop    = errors.New("the other end does not speak telnet: it asks the same again and again")
)

// agreement is how far both ends are with an option of one of them.
type agreement byte

const (
	off agreement = iota
	asked
	on
)

// telnet is a connection to a terminal server that speaks telnet. What it reads and writes is
// what goes over the serial line.
type telnet struct {
	net.Conn
	answers *rate.Limiter

	// of what comes; only Read uses them
	next func(*telnet, byte) (is bool, err error) // takes a byte, and reports whether it is of the line
	verb byte                                     // the command whose option is next
	sub  int                                      // how many bytes a subnegotiation has so far
	cr   bool                                     // the last of the line was one
	says []byte                                   // answers to what came

	mu           sync.Mutex // held while something is sent
	ours, theirs map[option]agreement
}

// newTelnet begins to speak telnet over a connection.
func newTelnet(c net.Conn) (*telnet, error) {
	t := &telnet{
		Conn: c, answers: rate.NewLimiter(answerRate, answerBurst), next: (*telnet).plain,
		ours:   map[option]agreement{binary: asked, noGoAhead: asked, serialPort: asked},
		theirs: map[option]agreement{binary: asked, noGoAhead: asked, echo: off},
	}
	return t, t.send([]byte{
		iac, will, byte(binary), iac, do, byte(binary),
		iac, will, byte(noGoAhead), iac, do, byte(noGoAhead),
		iac, will, byte(serialPort),
	})
}

// Read reads what the serial line brings. It may be nothing.
func (t *telnet) Read(p []byte) (int, error) {
	n, failed := t.Conn.Read(p)
	line := p[:0]
	for _, c := range p[:n] {
		is, err := t.next(t, c)
		if err != nil {
			return len(line), err
		}
		if is {
			line = append(line, c)
		}
	}
	if len(t.says) > 0 && failed == nil {
		failed = t.send(t.says)
		t.says = t.says[:0]
	}
	return len(line), failed
}

// plain takes a byte outside of commands.
func (t *telnet) plain(c byte) (bool, error) {
	if c == iac {
		t.next = (*telnet).command
		return false, nil
	}
	return t.literal(c), nil
}

// literal reports whether a byte is one of the line: a NUL that only says that the CR before
// is no end of a line is none.
func (t *telnet) literal(c byte) bool {
	padding := t.cr && c == 0 && t.theirs[binary] != on
	t.cr = c == '\r'
	return !padding
}

// command takes what is behind an iac.
func (t *telnet) command(c byte) (bool, error) {
	t.next = (*telnet).plain
	switch c {
	case iac:
		return t.literal(c), nil
	case will, wont, do, dont:
		t.verb, t.next = c, (*telnet).negotiate
	case subBegin:
		t.sub, t.next = 0, (*telnet).skip
	}
	return false, nil // all others are for who prints
}

// negotiate takes the option that a verb is about, and answers what changes something, or is
// refused, see RFC 1143.
func (t *telnet) negotiate(c byte) (bool, error) {
	t.next = (*telnet).plain
	known, yes, no := t.theirs, do, dont
	if t.verb == do || t.verb == dont {
		known, yes, no = t.ours, will, wont
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	is, has := known[option(c)]
	answer := byte(0)
	switch wanted := t.verb == do || t.verb == will; {
	case wanted && !has:
		answer = no
	case wanted:
		if is == off {
			answer = yes
		}
		known[option(c)] = on
	case has:
		if is == on {
			answer = no
		}
		known[option(c)] = off
	}
	if answer == 0 {
		return false, nil
	}
	if !t.answers.Allow() {
		return false, errLoop
	}
	t.says = append(t.says, iac, answer, c)
	return false, nil
}

// skip takes what a subnegotiation has: nothing in any is of use here.
func (t *telnet) skip(c byte) (bool, error) {
	if t.sub++; t.sub > longestSub {
		return false, errEndless
	}
	if c == iac {
		t.next = (*telnet).skipCommand
	}
	return false, nil
}

// skipCommand takes what is behind an iac there: a byte that is one, the end, or a command
// whose sender forgot the end.
func (t *telnet) skipCommand(c byte) (bool, error) {
	switch c {
	case iac:
		t.next = (*telnet).skip
	case subEnd:
		t.next = (*telnet).plain
	default:
		return t.command(c)
	}
	return false, nil
}

// Write has b go over the serial line.
func (t *telnet) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	coded := bytes.ReplaceAll(b, []byte{iac}, []byte{iac, iac})
	if t.ours[binary] != on {
		coded = bytes.ReplaceAll(coded, []byte{'\r'}, []byte{'\r', 0})
	}
	n, err := t.Conn.Write(coded)
	if err == nil {
		return len(b), nil
	}
	for i, c := range b { // how many of b that was
		size := 1
		if c == iac || c == '\r' && t.ours[binary] != on {
			size = 2
		}
		if n < size {
			if n == 1 {
				t.Conn.Close() // what follows would be taken for the second of the two
			}
			return i, err
		}
		n -= size
	}
	return len(b), err
}

// send sends a command, all of it or the last that is sent.
func (t *telnet) send(command []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.SetWriteDeadline(time.Now().Add(typeLimit))
	if err == nil {
		_, err = t.Conn.Write(command)
	}
	if err != nil {
		t.Conn.Close()
	}
	return err
}

// Break has the terminal server hold the line, where it lets itself be told for how long, or
// send a BREAK.
func (t *telnet) Break(ctx context.Context) error {
	t.mu.Lock()
	steers := t.ours[serialPort] == on
	t.mu.Unlock()
	if !steers {
		return t.send([]byte{iac, breakKey})
	}
	control := func(what byte) error {
		return t.send([]byte{iac, subBegin, byte(serialPort), setControl, what, iac, subEnd})
	}
	if err := control(breakOn); err != nil {
		return err
	}
	_ = pause.For(ctx, breakTime)
	return control(breakOff)
}
