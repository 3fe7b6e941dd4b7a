package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"walt/consent"
	"walt/console"
	"walt/fault"
	"walt/nodes"
)

const (
	leaveKey     = 0x1d // Ctrl-], as with telnet and virsh
	interruptKey = 0x03 // Ctrl-C
)

func nodeConsole(ctx context.Context, c *Call) error {
	if c.on("history") && c.on("read-only") {
		return c.withUsage(fault.Usagef("node console: either --history or --read-only"))
	}
	verb := "Open the console of"
	if c.on("history") {
		verb = "Read the history of the console of"
	}
	var agreed consent.Agreement
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var found []nodes.DeviceStatus
	err = c.withConsent(ctx, verb, func(given consent.Agreement) error {
		agreed = given
		found, err = c.Lab.NodesWithConsent(ctx, c.User, set, given)
		return err
	})
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return c.withUsage(fault.Usagef("node console: one node at a time"))
	}
	n := found[0]
	if c.on("history") {
		return c.consoleHistory(ctx, n.Name, agreed)
	}
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	seat, err := c.Lab.Sit(waiting, c.User, n.Name, agreed)
	if err != nil {
		return err
	}
	defer seat.Leave()
	if _, err := c.wakeUp(ctx, devicesOf(found)); err != nil {
		return err
	}
	err = (&talk{Call: c, seat: seat, node: n.Name}).run()
	if why := context.Cause(waiting); why != nil && ctx.Err() == nil && errors.Is(err, why) {
		return fault.New(fault.Interrupted, "the server is shutting down").WithHint("the console goes on when it is back: node console %s", n.Name)
	}
	return err
}

// consoleHistory writes what the console of a node had since the node is whose it is.
func (c *Call) consoleHistory(ctx context.Context, n nodes.Name, agreed consent.Agreement) error {
	kept, err := c.Lab.ConsoleHistory(ctx, c.User, n, agreed)
	if err != nil {
		return err
	}
	defer kept.Close()
	size, err := io.Copy(c.Out, contextReader{ctx, kept})
	if size == 0 && err == nil {
		c.note("Nothing that %s wrote on its console is kept.", n)
	}
	return err
}

// contextReader reads until a context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// talk is a user at the console of a node.
type talk struct {
	*Call
	mu   sync.Mutex // of what is told
	seat *nodes.Console
	node nodes.Name

	sends  sync.Mutex // one at a time: what is typed, or a BREAK
	writes bool       // the user was told no other, or that; guarded by sends
	told   string     // the last, about what is typed, and goes nowhere
}

var (
	errLeft     = errors.New("the user left")
	errInputEnd = errors.New("the user's input ended")
)

// mostAtEnd is how many bytes whose input ended is still shown, of those that were there then.
const mostAtEnd = 1 << 20

// run passes on what the node writes and the user types, until the user leaves or is sent away.
func (t *talk) run() error {
	ctx, end := context.WithCancelCause(t.seat.Context())
	defer end(nil)
	t.begin()
	go t.watch(ctx) // ends with ctx
	if t.Terminal != nil {
		t.Terminal.Raw(true)
		defer fmt.Fprintln(t.Err) // the cursor is behind what the node wrote
		defer t.Terminal.Raw(false)
	}
	if t.Terminal != nil || !t.on("read-only") {
		go t.listen(ctx, end) // ends when the user's input does, or at the first of it after the talk
	}
	p := make([]byte, bufferSize)
	for atEnd := 0; ; {
		n, lost, err := t.seat.Read(ctx, p)
		why := context.Cause(ctx)
		if ended := errors.Is(why, errInputEnd); ended {
			atEnd += n
		}
		switch {
		case err == nil && (why == nil || errors.Is(why, errInputEnd) && atEnd <= mostAtEnd):
		case errors.Is(why, errLeft), errors.Is(why, errInputEnd):
			return nil
		default:
			return why
		}
		if lost > 0 {
			t.tell(fmt.Sprintf("%d bytes were lost: you read more slowly than %s writes", lost, t.node))
		}
		if _, err := t.Out.Write(p[:n]); err != nil {
			return err
		}
	}
}

// begin says what a user should know who sits down.
func (t *talk) begin() {
	if t.Terminal != nil {
		t.note("The console of %s. Leave it with %s.", t.node, t.leaveKeys())
	}
	if is, why := t.seat.Line.Plugged(); !is {
		t.note("Nothing comes from %s now: %s. The console goes on when that changes.", t.node, why)
	}
	if t.on("read-only") {
		return
	}
	other, took := t.seat.Take()
	if t.writes = took; !took {
		t.note("%s writes there, and you read. Once %s has left, what you type goes to %s.", other, other, t.node)
	}
}

// leaveKeys are those that leave the console, in words.
func (t *talk) leaveKeys() string {
	if t.on("read-only") {
		return "Ctrl-C"
	}
	return "Ctrl-]"
}

// leaves returns what was typed before a key that leaves the console, and whether there is one.
func (t *talk) leaves(typed []byte) ([]byte, bool) {
	if t.Terminal == nil { // then these are bytes as any other
		return typed, false
	}
	i := bytes.IndexFunc(typed, func(r rune) bool { return r == leaveKey || r == interruptKey && t.on("read-only") })
	if i < 0 {
		return typed, false
	}
	return typed[:i], true
}

// listen passes on what the user types.
func (t *talk) listen(ctx context.Context, end context.CancelCauseFunc) {
	p := make([]byte, 4<<10)
	for {
		n, err := t.In.Read(p)
		if ctx.Err() != nil {
			return
		}
		typed, left := t.leaves(p[:n])
		if len(typed) > 0 && !t.on("read-only") {
			if why := t.write(typed); why != "" && t.Terminal == nil {
				end(fault.Failedf("%s; what came as input is lost in part", why))
				return
			}
		}
		switch {
		case left:
			end(errLeft)
		case err != nil:
			end(errInputEnd)
		default:
			continue
		}
		return
	}
}

// watch sends a BREAK each time that the user's client asks for one, and tells who would
// write in the user's place.
func (t *talk) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case who := <-t.seat.Asks():
			t.tell(fmt.Sprintf("%s would type here, and can once you have left", who))
			continue
		case <-t.Breaks:
		}
		why := "you only read"
		if !t.on("read-only") {
			why = t.send(t.seat.Break)
		}
		if why != "" {
			t.tell("no BREAK was sent: " + why)
			continue
		}
		t.tell("a BREAK was sent")
	}
}

// write has the node read what was typed. It tells the user, and returns, why it does not.
func (t *talk) write(typed []byte) (why string) {
	why = t.send(func() error {
		_, err := t.seat.Write(typed)
		return err
	})
	if t.Terminal != nil && why != "" && why != t.told { // else it is told in the end
		t.tell(why)
	}
	t.told = why
	return why
}

// send has the node get something from the user, or says why it does not.
func (t *talk) send(something func() error) (why string) {
	t.sends.Lock()
	defer t.sends.Unlock()
	other, took := t.seat.Take()
	if took && !t.writes {
		t.writes = true
		t.tell("you write now")
	}
	if !took {
		t.seat.Ask()
	}
	err := something()
	_, off := t.seat.Line.Plugged()
	switch {
	case !took:
		return other + " writes there, and nobody else"
	case errors.Is(err, console.ErrUnplugged):
		return string(t.node) + " does not read what is typed: " + off
	case errors.Is(err, console.ErrElsewhere):
		return string(t.node) + " still runs what its owner before had"
	case errors.Is(err, console.ErrNoBreak):
		return err.Error()
	case err != nil:
		return string(t.node) + " does not read what is typed"
	}
	return ""
}

// tell shows a sentence of the server's among what the node writes.
func (t *talk) tell(sentence string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Terminal == nil {
		t.note("%s", sentence)
		return
	}
	fmt.Fprintf(t.Err, "\r\n[walt: %s]\r\n", clean(sentence))
}
