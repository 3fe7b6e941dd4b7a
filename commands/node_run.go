package commands

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"walt/consent"
	"walt/fault"
	"walt/nodes"
	"walt/remote"
)

// nodesWithConsent returns the nodes of the set that is the first argument, once
// the user agreed to disturb the owners of contested ones.
func (c *Call) nodesWithConsent(ctx context.Context, verb string) (found []nodes.DeviceStatus, err error) {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return nil, err
	}
	err = c.withConsent(ctx, verb, func(given consent.Agreement) error {
		found, err = c.Lab.NodesWithConsent(ctx, c.User, set, given)
		return err
	})
	return found, err
}

func nodeRun(ctx context.Context, c *Call) error {
	command := c.commandToRun()
	if command == "" {
		return c.withUsage(fault.Usagef("node run: COMMAND is missing"))
	}
	found, err := c.nodesWithConsent(ctx, "Run the command on")
	if err == nil {
		found, err = c.wake(ctx, found)
	}
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return c.runOnEach(ctx, found, command)
	}
	c.tellWhere(found[0])
	status, err := c.Lab.RunSession(ctx, c.User, found[0], Conceal(command), remote.Session{Command: command, In: c.In, Out: c.Out, Err: c.Err})
	if err != nil || status == 0 {
		return err
	}
	return passedOn{fault: fault.Failedf("the command ended with status %d on %s", status, found[0].Name), status: status}
}

// commandToRun is the rest of the line behind SET, as it was typed.
func (c *Call) commandToRun() string {
	first := 1
	if word := c.arg(first); word == "--" {
		first++
	} else if _, ours := c.flag(word); ours {
		c.note("%s is a part of the command there: options of node run go before SET.", word)
	}
	if first == len(c.args) {
		return ""
	}
	return c.rest(first)
}

// runOnEach runs a command on several nodes at the same time, without input.
// Each line of output begins with the name of its node.
func (c *Call) runOnEach(ctx context.Context, found []nodes.DeviceStatus, command string) error {
	var ready []nodes.DeviceStatus
	var not, absent []string
	for _, n := range found {
		if n.State == nodes.Up || n.Stopped() {
			ready = append(ready, n)
			continue
		}
		not, absent = append(not, fmt.Sprintf("%s is %s", n.Name, n.State)), append(absent, string(n.Name))
	}
	var mu sync.Mutex                    // of Out, Err and what follows
	failed := make([]string, len(ready)) // in the order of the nodes
	highest := 0
	defer c.refuseInput(&mu)()
	var g errgroup.Group
	g.SetLimit(sessionsAtOnce)
	visits := c.Lab.Visits(ctx, c.User, ready, Conceal(command))
	for i, n := range ready {
		g.Go(func() error {
			out, errs := newLineWriter(c.Out, n.Name, &mu), newLineWriter(c.Err, n.Name, &mu)
			status, err := visits[i].Run(remote.Session{Command: command, In: strings.NewReader(""), Out: out, Err: errs})
			out.flush()
			errs.flush()
			mu.Lock()
			defer mu.Unlock()
			switch f := fault.As(err); {
			case f != nil:
				failed[i], highest = fmt.Sprintf("%s (%s)", n.Name, f.Msg), max(highest, StatusFailed)
			case err == nil && status != 0:
				failed[i], highest = fmt.Sprintf("%s (status %d)", n.Name, status), max(highest, status)
			default:
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var told []string
	if len(not) > 0 {
		told = append(told, fmt.Sprintf("ran on %d of %d: %s", len(ready), len(found), strings.Join(not, ", ")))
		highest = max(highest, StatusFailed)
	}
	failed = slices.DeleteFunc(failed, func(s string) bool { return s == "" })
	if len(failed) > 0 {
		told = append(told, "failed on "+strings.Join(failed, ", "))
	}
	if len(told) == 0 {
		return nil
	}
	f := fault.Failedf("%s", strings.Join(told, "; "))
	if len(not) > 0 {
		f = f.WithHint("wait for the rest with: node wait %s", strings.Join(absent, ","))
	}
	return passedOn{fault: f, status: highest}
}

// refuseInput says, once, that input for several nodes goes nowhere, until end is
// called.
func (c *Call) refuseInput(mu *sync.Mutex) (end func()) {
	over := c.Terminal != nil // there it is for the next command
	if over {
		return func() {}
	}
	go func() { // ends with the user's input, or at the first of it
		n, _ := c.In.Read(make([]byte, 1))
		mu.Lock()
		defer mu.Unlock()
		if n > 0 && !over {
			c.note("The input is for none of the nodes: it is passed on only to a single one.")
		}
	}()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

// sessionsAtOnce is on how many nodes one command runs at the same time.
const sessionsAtOnce = 16

func nodeShell(ctx context.Context, c *Call) error {
	found, err := c.nodesWithConsent(ctx, "Open a shell on")
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return c.withUsage(fault.Usagef("node shell: one node at a time"))
	}
	if c.Terminal == nil {
		c.note("Without a terminal the shell reads commands from standard input, to its end. For a prompt, ssh needs -t.")
	}
	if found, err = c.wake(ctx, found); err != nil {
		return err
	}
	if found, err = c.waitForShell(ctx, found); err != nil {
		return err
	}
	c.tellWhere(found[0])
	v := remote.Session{In: c.In, Out: c.Out, Err: c.Err}
	if t := c.Terminal; t != nil {
		v.Terminal = &remote.Terminal{Name: t.Name, Size: t.Size, Resized: t.Resized}
		t.Raw(true)
		defer t.Raw(false)
	}
	status, err := c.Lab.RunSession(ctx, c.User, found[0], "", v)
	if err != nil && c.Terminal != nil {
		c.Terminal.Raw(false)
		fmt.Fprintln(c.Err) // the cursor is behind a prompt of the node
	}
	if err != nil || status == 0 {
		return err
	}
	// With a terminal that is the status of what was typed last, as ^C or a wrong word.
	return passedOn{fault: fault.Failedf("the shell on %s ended with status %d", found[0].Name, status), status: status, seen: c.Terminal != nil}
}

// waitForShell is waitForBoot, and returns a node whose boot stops before its end where
// somebody can enter it.
func (c *Call) waitForShell(ctx context.Context, found []nodes.DeviceStatus) ([]nodes.DeviceStatus, error) {
	if found[0].Stopped() {
		return found, nil
	}
	up, late := c.waitForBoot(ctx, found)
	if late == nil || ctx.Err() != nil {
		return up, late
	}
	now, err := c.Lab.Again(ctx, devicesOf(found))
	if err != nil || !now[0].Stopped() {
		return nil, late
	}
	return now, nil
}

// tellWhere tells a user who enters a node that it is not the image that answers.
func (c *Call) tellWhere(n nodes.DeviceStatus) {
	switch {
	case !n.Stopped():
	case n.Failed:
		c.note("%s could not boot: %s. What answers is the server's own init, not the image; its commands: help. It starts again by itself after boot.timeout.", n.Name, n.Why)
	default:
		c.note("%s stopped before its root is mounted (boot.rescue=on). What answers is the server's own init, not the image; its commands: help", n.Name)
	}
}

// lineWriter writes whole lines, each begun with the name of a node.
type lineWriter struct {
	w    io.Writer
	name nodes.Name
	mu   *sync.Mutex // of w
	part bytes.Buffer
}

func newLineWriter(w io.Writer, name nodes.Name, mu *sync.Mutex) *lineWriter {
	return &lineWriter{w: w, name: name, mu: mu}
}

// maxLine is how much of a line without an end is held back.
const maxLine = 64 << 10

// Write writes the lines that are whole, as many at once as a session takes.
func (l *lineWriter) Write(b []byte) (int, error) {
	l.part.Write(b)
	var whole bytes.Buffer
	for {
		i := bytes.IndexByte(l.part.Bytes(), '\n')
		if i < 0 && l.part.Len() >= maxLine {
			i = l.part.Len() - 1
		}
		if i >= 0 {
			l.line(&whole, l.part.Next(i+1))
		}
		if whole.Len() >= bufferSize || i < 0 {
			if err := l.pass(&whole); err != nil {
				return 0, err
			}
		}
		if i < 0 {
			return len(b), nil
		}
	}
}

func (l *lineWriter) line(whole *bytes.Buffer, b []byte) {
	fmt.Fprintf(whole, "%s: %s\n", l.name, bytes.TrimSuffix(b, []byte("\n")))
}

// pass writes lines, if there are any.
func (l *lineWriter) pass(whole *bytes.Buffer) error {
	if whole.Len() == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := whole.WriteTo(l.w)
	return err
}

// flush writes a last line that has no end.
func (l *lineWriter) flush() {
	var whole bytes.Buffer
	if l.part.Len() > 0 {
		l.line(&whole, l.part.Next(l.part.Len()))
	}
	_ = l.pass(&whole)
}
