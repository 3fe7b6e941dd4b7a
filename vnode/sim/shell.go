package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"mvdan.cc/sh/v3/syntax"
)

// Exit statuses that a shell gives by itself, as POSIX and Linux have them.
const (
	statusSyntax      = 2
	statusInternal    = 70
	statusNotRunnable = 126
	statusNotFound    = 127
	statusInterrupted = 130
	statusPipe        = 141
)

const (
	// longest is how many bytes a command may have, with all its lines, and how
	// many a line of input that a program looks at.
	longest = 64 << 10
	// openLimit is how many brackets a command may open: reading them takes
	// a kilobyte of stack each.
	openLimit = 2000
)

// shell runs commands on a machine: a session's own, or one in it for a part of
// a pipe, a job or what stands in brackets. It does all by itself on the syntax
// tree; nothing of it can reach the server's files, processes or environment.
type shell struct {
	node *machine
	*session
	in   *bufio.Reader
	sink io.Writer     // where out goes
	out  *bufio.Writer // flushed after each command, and before err is written
	err  io.Writer

	dir     string // absolute
	vars    map[string]variable
	size    int // of vars, in bytes
	funcs   map[string]*syntax.Stmt
	params  []string
	errexit bool // set -e
	nounset bool // set -u
	status  int  // of the last command
	pid     int
	job     int // the process of the last job, 0 before the first
	jobs    []job
	leaves  leaving
	levels  int // of loops that are left
	depth   int
	cond    int // more than 0 in a condition
	loops   int // that it is in
	busy    int // commands that were run, or blocks of data
	bytes   int // of the present block

	substituted bool // the words of a command had a $(...), whose status counts
}

// session is what all shells of a session share.
type session struct {
	tty     *tty // nil for a session without a terminal
	all     sync.WaitGroup
	reboots atomic.Bool // the machine was told to boot again
}

// newShell returns a shell as a login begins it.
func (m *machine) newShell() *shell {
	sh := &shell{node: m, session: &session{}, dir: m.home(), vars: map[string]variable{}, pid: int(m.pid.Add(1))}
	for name, value := range map[string]string{"HOME": sh.dir, "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PPID": "1"} {
		sh.vars[name] = variable{value, name != "PPID", false}
	}
	return sh
}

// parser returns a new parser of the shell's language.
func parser() *syntax.Parser { return syntax.NewParser(syntax.Variant(syntax.LangPOSIX)) }

// script runs a text, as of an argument or a file.
func (sh *shell) script(ctx context.Context, text string) {
	if len(text) > longest || strings.Count(text, "(")+strings.Count(text, "{") > openLimit {
		panic(abort("script too long"))
	}
	f, err := parser().Parse(strings.NewReader(text), "")
	if err != nil {
		why := problem(err)
		if p, ok := errors.AsType[syntax.ParseError](err); ok && p.Pos.Line() > 1 {
			why = fmt.Sprintf("line %d: %s", p.Pos.Line(), why)
		}
		panic(abort(why))
	}
	sh.stmts(ctx, f.Stmts)
}

// problem is what is wrong with a text, in words.
func problem(err error) string {
	if p, ok := errors.AsType[syntax.ParseError](err); ok {
		text, _, _ := strings.Cut(p.Text, "; tried parsing as")
		return "syntax error: " + strings.ReplaceAll(text, "`", "'")
	}
	return err.Error()
}

// interact runs the commands of the input until it ends or the shell is told to.
func (sh *shell) interact(ctx context.Context) {
	for source := (&lines{shell: sh, ctx: ctx}); !source.ended && sh.leaves != exits && ctx.Err() == nil; {
		source.parser, source.rest = parser(), nil
		source.begin()
		for stmts, err := range source.parser.InteractiveSeq(source) {
			if errors.Is(err, errInterrupted) {
				sh.status = statusInterrupted
				break
			}
			if err != nil {
				sh.complain("sh: %s", problem(err))
				sh.status = statusSyntax
				break
			}
			if source.parser.Incomplete() {
				continue
			}
			source.begin()
			sh.foreground(ctx, func(ctx context.Context) { sh.stmts(ctx, stmts) })
			if sh.leaves == exits || sh.reboots.Load() {
				return
			}
		}
	}
	if sh.tty != nil && sh.leaves != exits {
		fmt.Fprintln(sh.tty)
	}
}

// foreground runs commands. On a terminal, Ctrl-C ends them.
func (sh *shell) foreground(ctx context.Context, run func(context.Context)) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	if sh.tty != nil {
		sh.tty.foreground(cancel)
		defer sh.tty.foreground(nil)
	}
	sh.guard(func() { run(inner) })
	if inner.Err() != nil {
		sh.status, sh.leaves = statusInterrupted, stays
	}
	if sh.leaves != exits {
		sh.leaves = stays
	}
}

// lines gives the parser the input line by line, each when it asks for it: the
// rest belongs to the commands.
type lines struct {
	*shell
	ctx    context.Context // ends the wait for a line
	parser *syntax.Parser
	rest   []byte // of the line
	ended  bool
	bytes  int // of the present command
	opens  int
}

func (l *lines) begin() { l.bytes, l.opens = 0, 0 }

func (l *lines) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		if l.ended {
			return 0, io.EOF
		}
		if l.tty != nil {
			prompt := fmt.Sprintf("root@%s:%s# ", l.node.name, printable(l.dir))
			if l.parser.Incomplete() {
				prompt = "> "
			}
			fmt.Fprint(l.tty, prompt)
		}
		line, err := l.line(l.ctx)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err != nil {
			l.ended = l.tty == nil || line == "" // a terminal goes on after a line that ended so
			if line == "" {
				return 0, io.EOF
			}
			line += "\n"
		}
		l.bytes += len(line)
		l.opens += strings.Count(line, "(") + strings.Count(line, "{")
		if l.bytes > longest || l.opens > openLimit {
			return 0, errors.New("command too long")
		}
		l.rest = []byte(line)
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// line reads the next line of the input; the last one may lack its end. Of one
// that is too long nothing is kept.
func (sh *shell) line(ctx context.Context) (string, error) {
	var line []byte
	for ctx.Err() == nil {
		part, err := sh.in.ReadSlice('\n')
		if len(line) <= longest {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case len(line) > longest:
			return "", errors.New("line too long")
		default:
			return string(line), err
		}
		sh.count(ctx, len(part))
	}
	return "", errInterrupted
}

// complain writes a line to the error stream, after what was written before.
// Errors mean that the client is gone, which ends the session anyway.
func (sh *shell) complain(format string, args ...any) {
	_ = sh.out.Flush()
	_, _ = fmt.Fprintf(sh.err, format+"\n", args...)
}

// abs returns the absolute path of a name that was typed.
func (sh *shell) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(sh.dir, name)
}

// home is where shells begin.
func (m *machine) home() string {
	if info, err := m.disk.stat("/root", true); err == nil && info.IsDir() {
		return "/root"
	}
	return "/"
}

// reason is an error of a file in the words of a Unix program. What a user of
// the node can do nothing about goes to the log.
func (sh *shell) reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
	case errors.Is(err, fs.ErrNotExist):
		errno = syscall.ENOENT
	case errors.Is(err, fs.ErrPermission):
		errno = syscall.EACCES
	case errors.Is(err, fs.ErrInvalid):
		errno = syscall.EINVAL
	default:
		sh.node.log.Error("read a file of the image", "err", err)
		errno = syscall.EIO
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
