package sim

import (
	"context"

	"mvdan.cc/sh/v3/syntax"
)

// condition runs what may fail without that set -e ends the shell.
func (sh *shell) condition(run func()) {
	sh.cond++
	defer func() { sh.cond-- }()
	run()
}

func (sh *shell) branch(ctx context.Context, c *syntax.IfClause) {
	for ; c != nil; c = c.Else {
		if len(c.Cond) > 0 { // an else has none
			if sh.condition(func() { sh.stmts(ctx, c.Cond) }); sh.leaves != stays {
				return
			}
			if sh.status != 0 {
				continue
			}
		}
		sh.stmts(ctx, c.Then)
		return
	}
	sh.status = 0
}

// nextRound reports whether a loop goes on after a round.
func (sh *shell) nextRound() bool {
	if sh.leaves != breaks && sh.leaves != continues {
		return sh.leaves == stays
	}
	if sh.levels--; sh.levels > 0 {
		return false // an outer loop is meant
	}
	next := sh.leaves == continues
	sh.leaves = stays
	return next
}

func (sh *shell) each(ctx context.Context, c *syntax.ForClause) {
	loop, ok := c.Loop.(*syntax.WordIter)
	if !ok || c.Select {
		panic(abort("this kind of loop is not supported"))
	}
	items := sh.params
	if loop.InPos.IsValid() {
		items = sh.fields(ctx, loop.Items...)
	}
	sh.loops++
	defer func() { sh.loops-- }()
	if len(items) == 0 {
		sh.status = 0
	}
	for _, item := range items {
		sh.must(sh.set(loop.Name.Value, item))
		if sh.stmts(ctx, c.Do); !sh.nextRound() {
			return
		}
	}
}

func (sh *shell) choose(ctx context.Context, c *syntax.CaseClause) {
	word := sh.literal(ctx, c.Word)
	for _, item := range c.Items {
		for _, p := range item.Patterns {
			if sh.matches(ctx, p, word) {
				sh.stmts(ctx, item.Stmts)
				return
			}
		}
	}
	sh.status = 0
}
