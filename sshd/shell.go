package sshd

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// shell is a session with a prompt.
type shell struct {
	*session
	editor  *editor
	history *history
	tabbed  string // the line when Tab was pressed, if nothing was since
	tooLong bool   // the line lost what x/term has no room for
}

func newShell(x *session) *shell {
	sh := &shell{
		session: x,
		editor:  newEditor(x.ctx, x.tty, fmt.Sprintf("%s@walt> ", x.login.User)),
		history: &history{ctx: x.ctx, store: x.srv.history, user: x.login.User, log: x.srv.log},
	}
	sh.editor.term.History = sh.history
	sh.editor.term.AutoCompleteCallback = sh.onKey
	return sh
}

// loop runs what the user types until the user leaves; its status is that of
// the last command.
func (sh *shell) loop() (status int) {
	sh.srv.runner.Welcome(sh.ctx, &sh.base)
	sh.srv.sessions.Go(sh.notices) // ends with the session
	for {
		line, err := sh.read()
		switch {
		case err == io.EOF:
			fmt.Fprintln(sh.base.Err)
			return status
		case err != nil:
			fmt.Fprintln(sh.base.Err)
			if err == errIdle {
				sh.srv.runner.Tell(&sh.base, "walt: closed: idle for "+brief(sh.editor.idle)+"\n")
			}
			return sh.farewell()
		case line == "":
			continue
		case sh.srv.runner.Leaves(line):
			return status
		}
		sh.history.remember(line)
		status = sh.runLine(line)
	}
}

// brief is a duration without the zeros at its end: 10m, not 10m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// read returns the next line, "" when there is nothing to run.
func (sh *shell) read() (string, error) {
	e := sh.editor
	e.idle = sh.srv.limits.Load().IdleTimeout
	e.keys.interrupted, e.keys.notUTF8, sh.tooLong = false, false, false
	sh.tty.freshLine()
	line, err := sh.tty.edit(e)
	switch {
	case err != nil || e.keys.interrupted:
		return "", err
	case e.keys.notUTF8:
		sh.srv.runner.Tell(&sh.base, "walt: that line is not valid UTF-8 and was not run\n  check the encoding of your terminal\n")
		return "", nil
	case sh.tooLong:
		sh.srv.runner.Tell(&sh.base, fmt.Sprintf("walt: that line is longer than %d characters and was not run\n  send long lines from a file, as in: ssh walt@SERVER < FILE\n", maxTyped))
		return "", nil
	}
	return strings.TrimSpace(line), nil
}

// notices shows the user's notices as they come, above the prompt.
func (sh *shell) notices() {
	var status int
	defer sh.recoverPanic(&status)
	err := sh.srv.runner.Notices(sh.ctx, &sh.base, func(text string) {
		sh.tty.notice(strings.TrimRight(text, "\n"))
	})
	if err != nil && sh.ctx.Err() == nil {
		sh.srv.log.Error("notices are not shown any more", "user", sh.login.User, "err", err)
	}
}

// onKey sees the keys that x/term has no use of its own for; Tab completes.
func (sh *shell) onKey(line string, pos int, key rune) (newLine string, newPos int, ok bool) {
	if key != tab {
		sh.tabbed = ""
		sh.tooLong = sh.tooLong || utf8.RuneCountInString(line) >= maxTyped
		return "", 0, false
	}
	return sh.complete(line, pos)
}
