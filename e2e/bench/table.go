//go:build linux

package main

import (
	"cmp"
	"fmt"
)

// line is one line of the table: a figure, beside what it is compared with, and
// the promise about it.
type line struct {
	figure string
	got    float64
	unit   string
	base   float64 // of what the figure is compared with; 0: with nothing
	ratio  float64 // to that, where it was found turn by turn; 0: of the two
	to     string  // what that is
	most   float64 // that is promised: of the ratio if there is one; 0: nothing is
	least  float64
}

// print prints a line, and notes a promise that is broken.
func (b *bench) print(l line) {
	value, ratio := l.got, ""
	if l.base != 0 {
		value = cmp.Or(l.ratio, l.got/l.base)
		ratio = fmt.Sprintf("%.2f of %s (%.2f)", value, l.to, l.base)
	}
	promise, kept := "", true
	switch {
	case l.most != 0:
		promise, kept = fmt.Sprintf("at most %.2f", l.most), value <= l.most
	case l.least != 0:
		promise, kept = fmt.Sprintf("at least %.2f", l.least), value >= l.least
	}
	verdict := ""
	if promise != "" {
		verdict = "ok"
	}
	if !kept {
		verdict, b.failed = "MISSED", true
	}
	fmt.Printf("%-62s %9.2f %-9s %-34s %-16s %s\n", l.figure, l.got, l.unit, ratio, promise, verdict)
}

// say prints a figure that is compared with nothing; 0 is no limit.
func (b *bench) say(figure string, got, limit float64, unit string) {
	b.print(line{figure: figure, got: got, unit: unit, most: limit})
}

// broken prints a promise that could not even be measured.
func (b *bench) broken(figure string, err error) {
	b.failed = true
	fmt.Printf("%-62s MISSED: %v\n", figure, err)
}
