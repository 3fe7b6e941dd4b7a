package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/pattern"
	"mvdan.cc/sh/v3/syntax"
)

// What the words of a shell may take. A script that goes beyond is ended.
const (
	varLimit  = 64 << 10  // bytes of a variable
	varsLimit = 256 << 10 // bytes of all variables of a shell, their names included
	wordLimit = 1 << 20   // bytes that the words of one command are made from
	// cutLimit is wordLimit where patterns are cut off with # or %, which takes
	// time that grows with the square of it.
	cutLimit = 8 << 10
	// globLimit is bytes of the names that are compared with a pattern; a long
	// pattern counts them several times.
	globLimit = 16 << 20
)

// abort ends what a shell is doing, with a complaint.
type abort string

// variable is one of a shell.
type variable struct {
	value    string
	exported bool
	readonly bool
}

// vars are the variables of a shell, and how much its words have taken.
type vars struct {
	*shell
	ctx  context.Context
	room int // bytes
	left int // of room
	took int // bytes of names that were compared with a pattern
}

// take counts what goes into words.
func (v *vars) take(n int) {
	if v.left -= n; v.left < 0 {
		panic(abort("words too long"))
	}
}

// Get returns a variable or parameter for the library that expands words.
func (v *vars) Get(name string) expand.Variable {
	known := func(s string) expand.Variable {
		v.take(len(s))
		return expand.Variable{Set: true, Kind: expand.String, Str: s}
	}
	switch name {
	case "@", "*":
		for _, p := range v.params {
			v.take(len(p) + 16)
		}
		return expand.Variable{Set: true, Kind: expand.Indexed, List: slices.Clone(v.params)}
	case "#":
		return known(strconv.Itoa(len(v.params)))
	case "?":
		return known(strconv.Itoa(v.status))
	case "-":
		return known(v.letters())
	case "$":
		return known(strconv.Itoa(v.pid))
	case "!":
		if v.job == 0 {
			return expand.Variable{}
		}
		return known(strconv.Itoa(v.job))
	case "0":
		return known("sh")
	case "PWD":
		return known(v.dir)
	}
	if user, ok := strings.CutPrefix(name, "HOME "); ok { // of ~user; the library must not look for one itself
		if user == "root" {
			return known(v.node.home())
		}
		return known("~" + user)
	}
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > len(v.params) {
			return expand.Variable{}
		}
		return known(v.params[n-1])
	}
	if x, ok := v.vars[name]; ok {
		return known(x.value)
	}
	return expand.Variable{}
}

// Set is for ${x:=y} and arithmetic.
func (v *vars) Set(name string, to expand.Variable) error { return v.set(name, to.Str) }

// Each is of no use without variables that hold many.
func (v *vars) Each(func(string, expand.Variable) bool) {}

// set gives a variable a value.
func (sh *shell) set(name, value string) error {
	if !syntax.ValidName(name) {
		return fmt.Errorf("%.64s: bad variable name", name)
	}
	x, old := sh.vars[name]
	if x.readonly {
		return fmt.Errorf("%s: is read only", name)
	}
	size := sh.size + len(value) - len(x.value)
	if !old {
		size += len(name) + 64
	}
	if len(value) > varLimit || size > varsLimit {
		panic(abort(fmt.Sprintf("%.64s: value too long", name)))
	}
	x.value = value
	sh.vars[name], sh.size = x, size
	return nil
}

// unset removes a variable.
func (sh *shell) unset(name string) {
	if x, ok := sh.vars[name]; ok && !x.readonly {
		sh.size -= len(name) + 64 + len(x.value)
		delete(sh.vars, name)
	}
}

// environ is the exported variables, in order.
func (sh *shell) environ() (all []string) {
	for _, name := range slices.Sorted(maps.Keys(sh.vars)) {
		if x := sh.vars[name]; x.exported {
			all = append(all, name+"="+x.value)
		}
	}
	return all
}

// words returns what expands words of one command.
func (sh *shell) words(ctx context.Context, words ...*syntax.Word) *expand.Config {
	v := &vars{shell: sh, ctx: ctx, room: wordLimit}
	for _, w := range words {
		if cuts(w) {
			v.room = cutLimit
		}
	}
	v.left = v.room
	for _, w := range words {
		v.take(int(w.End().Offset() - w.Pos().Offset()))
	}
	return &expand.Config{Env: v, CmdSubst: v.substitute, ReadDir2: v.readDir, NoUnset: sh.nounset}
}

// cuts reports whether a word has a pattern that is cut off.
func cuts(w *syntax.Word) (found bool) {
	syntax.Walk(w, func(n syntax.Node) bool {
		if p, ok := n.(*syntax.ParamExp); ok && p.Exp != nil {
			switch p.Exp.Op {
			case syntax.RemSmallPrefix, syntax.RemLargePrefix, syntax.RemSmallSuffix, syntax.RemLargeSuffix:
				found = true
			}
		}
		return !found
	})
	return found
}

// fields expands the words of a command. POSIX has no braces.
func (sh *shell) fields(ctx context.Context, words ...*syntax.Word) []string {
	plain := make([]*syntax.Word, len(words))
	for i, w := range words {
		plain[i] = withoutBraces(w)
	}
	all, err := expand.Fields(sh.words(ctx, words...), plain...)
	sh.must(err)
	return all
}

// withoutBraces quotes braces, which the library would expand.
func withoutBraces(w *syntax.Word) *syntax.Word {
	var quoted *syntax.Word
	for i, part := range w.Parts {
		lit, ok := part.(*syntax.Lit)
		if !ok || !strings.Contains(lit.Value, "{") {
			continue
		}
		if quoted == nil {
			quoted = &syntax.Word{Parts: slices.Clone(w.Parts)}
		}
		var s strings.Builder
		for j := 0; j < len(lit.Value); j++ {
			switch lit.Value[j] {
			case '\\':
				s.WriteByte('\\')
				if j++; j == len(lit.Value) {
					continue
				}
			case '{':
				s.WriteByte('\\')
			}
			s.WriteByte(lit.Value[j])
		}
		quoted.Parts[i] = &syntax.Lit{ValuePos: lit.ValuePos, ValueEnd: lit.ValueEnd, Value: s.String()}
	}
	if quoted == nil {
		return w
	}
	return quoted
}

// literal expands a word to one string, without patterns.
func (sh *shell) literal(ctx context.Context, w *syntax.Word) string {
	if w == nil {
		return ""
	}
	s, err := expand.Literal(sh.words(ctx, w), w)
	sh.must(err)
	return s
}

// must ends the shell for what POSIX calls an expansion error.
func (sh *shell) must(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		panic(abort("")) // it was interrupted
	}
	if err != nil {
		panic(abort(err.Error()))
	}
}

// substitute is $(...).
func (v *vars) substitute(w io.Writer, cs *syntax.CmdSubst) error {
	out := &catch{room: min(v.left, varLimit)}
	sub := v.clone()
	sub.redirect(nil, out, nil)
	sub.stmts(v.ctx, cs.Stmts)
	sub.flush("")
	v.status, v.substituted = sub.status, true
	if out.over {
		panic(abort("output of a command too long"))
	}
	v.take(len(out.data))
	_, err := w.Write(out.data)
	return err
}

// catch keeps what is written, as long as there is room.
type catch struct {
	data []byte
	room int
	over bool
}

func (c *catch) Write(p []byte) (int, error) {
	if len(p) > c.room-len(c.data) {
		c.over = true
		return 0, io.ErrClosedPipe
	}
	c.data = append(c.data, p...)
	return len(p), nil
}

// readDir lists directories for patterns.
func (v *vars) readDir(name string) ([]fs.DirEntry, error) {
	if err := v.ctx.Err(); err != nil {
		return nil, err
	}
	all, err := v.node.disk.list(name)
	if err != nil {
		return nil, err
	}
	long := 1 + (v.room-v.left)/16
	entries := make([]fs.DirEntry, len(all))
	for i, s := range all {
		v.took += (len(name) + len(s.name) + 64) * long
		entries[i] = s
	}
	if v.took > globLimit {
		panic(abort("a pattern is compared with too many files"))
	}
	return entries, nil
}

// matches reports whether a string matches a pattern of case.
func (sh *shell) matches(ctx context.Context, w *syntax.Word, s string) bool {
	pat, err := expand.Pattern(sh.words(ctx, w), w)
	sh.must(err)
	if len(pat)*len(s) > 64<<20 {
		panic(abort("a pattern is too long"))
	}
	expr, err := pattern.Regexp(pat, pattern.EntireString)
	if err != nil {
		return false
	}
	r, err := regexp.Compile(expr)
	return err == nil && r.MatchString(s)
}
