package sshd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"walt/commands"
	"walt/fault"
)

// serveFiles serves the subsystem sftp. The sentences that its user is told go beside it.
func (x *session) serveFiles() (status int) {
	if why := x.withoutFiles(); why != nil {
		x.tellBeside(why)
		return commands.StatusFailed
	}
	return x.work(func(ctx context.Context, _ context.CancelFunc) int {
		defer context.AfterFunc(ctx, x.in.discard)() // which ends the reading
		told := teller{session: x}
		err := x.srv.sftp.Serve(ctx, x.login.User, x.in, x.base.Out, told.tell)
		switch {
		case ctx.Err() != nil:
			if why := fault.As(context.Cause(x.ctx)); why != nil {
				x.tellBeside(why)
			}
			return commands.StatusInterrupted
		case fault.As(err) != nil:
			x.tellBeside(err)
			return commands.StatusFailed
		}
		return commands.StatusDone // else the client is gone
	})
}

// withoutFiles is why the key gives no access to files, nil when it does.
func (x *session) withoutFiles() error {
	switch {
	case x.login.Command != "":
		return fault.Failedf("your key runs one command and nothing else: it copies no files")
	case x.login.NoForwarding:
		return fault.Failedf("your key does not permit copies of files: it has an option that takes forwarding away")
	}
	return nil
}

// tellBeside writes a sentence to where the client shows it beside what it does itself.
func (x *session) tellBeside(err error) {
	f := fault.As(err)
	if f == nil {
		if f = fault.Disk(err); f != nil {
			x.srv.log.Error("sftp", "user", x.login.User, "err", err)
		}
	}
	if f == nil {
		commands.Internal(x.base.Err, x.srv.log, "sftp", "user", x.login.User, "err", err)
		return
	}
	text := "walt: " + f.Msg + "\n"
	if f.Hint != "" {
		text += "  " + f.Hint + "\n"
	}
	x.srv.runner.Tell(&x.base, text)
}

// repeatAfter is when a sentence that was just told is told again: a client asks for one file
// in several ways, and a copy of a thousand fails a thousand times.
const repeatAfter = 10 * time.Second

// teller tells a user each sentence once.
type teller struct {
	session *session

	mu   sync.Mutex
	last string
	when time.Time
}

func (t *teller) tell(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	words := fmt.Sprint(err)
	if words == t.last && time.Since(t.when) < repeatAfter {
		return
	}
	t.last, t.when = words, time.Now()
	t.session.tellBeside(err)
}
