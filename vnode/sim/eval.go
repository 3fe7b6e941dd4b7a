package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"mvdan.cc/sh/v3/syntax"

	"walt/pause"
)

const (
	// depthLimit is how deep commands may stand in one another, functions and
	// files that call themselves included.
	depthLimit = 512
	// processLimit is how many parts of pipes and jobs may run on one node.
	processLimit = 128
	// pace is how many commands, or blocks of data, a shell runs before it takes
	// the rest: a node that is busy leaves most of the server to others.
	pace = 256
	rest = 5 * time.Millisecond
)

// leaving is what keeps a shell from running the next command.
type leaving int

const (
	stays     leaving = iota
	breaks            // out of loops; shell.levels says how many
	continues         // with the next round of a loop
	returns           // from a function or file
	exits             // from the shell
)

// guard does work that may abort, and complains if it did. A panic ends the work too.
func (sh *shell) guard(work func()) {
	depth := sh.depth
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		sh.depth, sh.leaves, sh.status = depth, stays, statusSyntax
		why, ok := p.(abort)
		if !ok {
			sh.status = statusInternal
			sh.node.log.Error("panic in a shell", "panic", p, "stack", string(debug.Stack()))
			why = "internal error"
		}
		if why != "" {
			sh.complain("sh: %s", why)
		}
	}()
	work()
}

// clone is a shell of its own, which begins with what sh has.
func (sh *shell) clone() *shell {
	sub := *sh
	sub.vars, sub.funcs = maps.Clone(sh.vars), maps.Clone(sh.funcs)
	sub.redirect(nil, sh.sink, nil)
	sub.jobs, sub.cond = nil, 0
	return &sub
}

// start runs part of a pipe, or a job, beside others. It is done when the
// channel is closed.
func (sh *shell) start(ctx context.Context, sub *shell, st *syntax.Stmt, end func()) <-chan struct{} {
	if sh.node.processes.Add(1) > processLimit {
		sh.node.processes.Add(-1)
		end()
		panic(abort("can't fork: Resource temporarily unavailable"))
	}
	sub.pid = int(sh.node.pid.Add(1))
	done := make(chan struct{})
	sh.all.Go(func() { // ends with ctx, or its streams
		defer close(done)
		defer sh.node.processes.Add(-1)
		defer end()
		sub.guard(func() { sub.stmt(ctx, st) })
		sub.flush("")
	})
	return done
}

func (sh *shell) stmts(ctx context.Context, all []*syntax.Stmt) {
	for _, st := range all {
		sh.stmt(ctx, st)
	}
}

// stmt runs a statement, unless the shell leaves where it is.
func (sh *shell) stmt(ctx context.Context, st *syntax.Stmt) {
	if !sh.goesOn(ctx) {
		return
	}
	if st.Background {
		sub := sh.clone()
		sub.redirect(strings.NewReader(""), nil, nil)
		once := *st
		once.Background = false
		done := sh.start(ctx, sub, &once, func() {})
		if len(sh.jobs) >= processLimit { // what has ended is forgotten
			sh.jobs = slices.DeleteFunc(sh.jobs, job.ended)
		}
		sh.job, sh.jobs, sh.status = sub.pid, append(sh.jobs, job{sub, done}), 0
		return
	}
	if sh.depth++; sh.depth > depthLimit {
		panic(abort("commands are nested too deeply"))
	}
	defer func() { sh.depth-- }()
	sh.redirected(ctx, st)
	if st.Negated {
		sh.status = oneIf(sh.status == 0)
		return
	}
	if _, list := st.Cmd.(*syntax.BinaryCmd); sh.errexit && !list && sh.status != 0 && sh.cond == 0 && sh.leaves == stays {
		sh.leaves = exits
	}
}

// redirected runs the command of a statement with the streams that it asks for.
func (sh *shell) redirected(ctx context.Context, st *syntax.Stmt) {
	if len(st.Redirs) > 0 {
		var opened []io.Closer
		defer func(in *bufio.Reader, sink io.Writer, out *bufio.Writer, err io.Writer) {
			sh.flush("sh")
			sh.in, sh.sink, sh.out, sh.err = in, sink, out, err
			for _, f := range opened {
				f.Close()
			}
		}(sh.in, sh.sink, sh.out, sh.err)
		for _, r := range st.Redirs {
			f, err := sh.redirection(ctx, r)
			if f != nil {
				opened = append(opened, f)
			}
			if err != nil {
				sh.complain("sh: %v", err)
				sh.status = 1
				return
			}
		}
	}
	if st.Cmd == nil {
		sh.status = 0
		return
	}
	sh.command(ctx, st.Cmd)
}

// goesOn reports whether there is a next command to run. It lets a shell that
// is busy rest now and then.
func (sh *shell) goesOn(ctx context.Context) bool {
	sh.works(ctx)
	if ctx.Err() != nil {
		sh.status, sh.leaves = statusInterrupted, exits
	}
	return sh.leaves == stays
}

// works counts one more command, or block of data. All nodes rest in turn, so
// that together they do not take more of the server than one.
func (sh *shell) works(ctx context.Context) {
	if sh.busy++; sh.busy%pace == 0 {
		sh.node.turn.Lock()
		defer sh.node.turn.Unlock()
		_ = pause.For(ctx, rest)
	}
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (sh *shell) command(ctx context.Context, c syntax.Command) {
	switch c := c.(type) {
	case *syntax.CallExpr:
		sh.simple(ctx, c)
	case *syntax.Block:
		sh.stmts(ctx, c.Stmts)
	case *syntax.Subshell:
		sub := sh.clone()
		sub.stmts(ctx, c.Stmts)
		sub.flush("sh")
		sh.status = sub.status
	case *syntax.BinaryCmd:
		if c.Op == syntax.Pipe {
			sh.pipe(ctx, c)
			return
		}
		sh.condition(func() { sh.stmt(ctx, c.X) })
		if (sh.status == 0) == (c.Op == syntax.AndStmt) {
			sh.stmt(ctx, c.Y)
		}
	case *syntax.IfClause:
		sh.branch(ctx, c)
	case *syntax.WhileClause:
		sh.loops++
		defer func() { sh.loops-- }()
		status := 0
		for sh.goesOn(ctx) {
			sh.condition(func() { sh.stmts(ctx, c.Cond) })
			if sh.leaves != stays || (sh.status == 0) == c.Until {
				break
			}
			if sh.stmts(ctx, c.Do); !sh.nextRound() {
				break
			}
			status = sh.status
		}
		if sh.leaves == stays {
			sh.status = status
		}
	case *syntax.ForClause:
		sh.each(ctx, c)
	case *syntax.CaseClause:
		sh.choose(ctx, c)
	case *syntax.FuncDecl:
		if sh.funcs == nil {
			sh.funcs = map[string]*syntax.Stmt{}
		}
		if len(sh.funcs) >= 1024 {
			panic(abort("too many functions"))
		}
		sh.funcs[c.Name.Value], sh.status = c.Body, 0
	default:
		panic(abort(fmt.Sprintf("%T is not supported", c)))
	}
}

// pipe runs two commands beside each other, each in a shell of its own.
func (sh *shell) pipe(ctx context.Context, c *syntax.BinaryCmd) {
	from, to := io.Pipe()
	left, right := sh.clone(), sh.clone()
	left.redirect(nil, to, nil)
	right.redirect(from, nil, nil)
	done := sh.start(ctx, left, c.X, func() { to.Close() })
	defer func() { <-done }()
	defer from.Close() // which ends a left one that writes on
	right.guard(func() { right.stmt(ctx, c.Y) })
	right.flush("sh")
	sh.status = right.status
}

// simple runs assignments, a function or a program.
func (sh *shell) simple(ctx context.Context, c *syntax.CallExpr) {
	sh.substituted = false
	args := sh.fields(ctx, c.Args...)
	if len(args) == 0 {
		for _, a := range c.Assigns {
			sh.must(sh.set(a.Name.Value, sh.literal(ctx, a.Value)))
		}
		if !sh.substituted {
			sh.status = 0
		}
		return
	}
	for _, a := range c.Assigns { // for this command only
		name := a.Name.Value
		before, was := sh.vars[name]
		sh.must(sh.set(name, sh.literal(ctx, a.Value)))
		x := sh.vars[name]
		x.exported = true
		sh.vars[name] = x
		defer func() {
			sh.unset(name)
			if was {
				sh.must(sh.set(name, before.value))
				sh.vars[name] = before
			}
		}()
	}
	sh.call(ctx, args)
}

// call runs a function or program and sets the status.
func (sh *shell) call(ctx context.Context, args []string) {
	body := sh.funcs[args[0]]
	if body == nil {
		sh.status = sh.program(ctx, args)
		sh.flush(args[0])
		return
	}
	defer func(params []string, loops int) { sh.params, sh.loops = params, loops }(sh.params, sh.loops)
	sh.params, sh.loops = args[1:], 0
	sh.stmt(ctx, body)
	if sh.leaves == returns {
		sh.leaves = stays
	}
}

// flush writes what is left to the output. A command whose output is taken by
// nobody, or does not fit, has failed.
func (sh *shell) flush(name string) {
	err := sh.out.Flush()
	if err == nil {
		return
	}
	sh.out.Reset(sh.sink)
	if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) {
		sh.status = statusPipe
		return
	}
	if sh.status == 0 {
		sh.status = 1
	}
	if name != "" {
		sh.complain("%s: write error: %s", name, sh.reason(err))
	}
}

// job is a command that runs in the background.
type job struct {
	*shell
	done <-chan struct{}
}

func (j job) ended() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}
