//go:build linux

// Command bench measures what the server promises, on the machine that it runs
// on: each figure beside its limit, and beside other servers where the limit
// is relative to them. It judges nothing else. Its one surprising rule: what it
// compares it measures in turns, a command each, so that other load on the
// machine hits all alike.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"

	"walt/e2e/lab"
)

// user is the lab user whose commands are measured.
const user = "bench"

// bench is one run of the program.
type bench struct {
	dir    string
	waltd  string
	only   *regexp.Regexp
	failed bool
}

func main() {
	waltd := flag.String("waltd", "bin/waltd", "the server `program`")
	only := flag.String("only", ".", "measure only the parts whose name matches this `pattern`: "+partNames())
	wish := flag.String("bare-wish", "", "be the wish server of the comparison, with this host `key`")
	flag.Parse()
	if *wish != "" {
		fmt.Fprintln(os.Stderr, "bench:", bareWish(*wish))
		os.Exit(1)
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	b := &bench{only: pattern}
	if b.waltd, err = filepath.Abs(*waltd); err == nil {
		err = b.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if b.failed {
		os.Exit(1)
	}
}

// parts are what is measured, each in a lab of its own.
var parts = []struct {
	name    string
	nodes   int
	measure func(*bench, *lab.Lab) error
}{
	{"empty", 0, (*bench).empty},
	{"cold", 100, (*bench).cold},
	{"warm", 100, (*bench).warm},
	{"race", 1, (*bench).race},
	{"idle", 0, (*bench).idle},
	{"start", 1000, (*bench).start},
	{"large", 10000, (*bench).large},
	{"clone", 0, (*bench).clone},
	{"unread", 1000, (*bench).unread},
}

func partNames() (names string) {
	for _, p := range parts {
		names += " " + p.name
	}
	return names
}

func (b *bench) run() (err error) {
	if b.dir, err = os.MkdirTemp("", "walt-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	fmt.Printf("%s %s/%s, %d cores\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, p := range parts {
		if !b.only.MatchString(p.name) {
			continue
		}
		if err := b.part(p.name, p.nodes, p.measure); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// part measures one part in a new lab of so many free nodes.
func (b *bench) part(name string, nodes int, measure func(*bench, *lab.Lab) error) error {
	l, err := newLab(filepath.Join(b.dir, name), b.waltd)
	if err != nil {
		return err
	}
	defer l.Registry.Stop()
	defer l.Kill()
	if err := l.Start(); err != nil {
		return err
	}
	if err := l.Add("", user); err != nil {
		return err
	}
	if nodes > 0 {
		if err := seed(l, nodes); err != nil {
			return err
		}
	}
	return measure(b, l)
}

// say prints a figure; with a limit, also whether it is kept.
func (b *bench) say(figure string, got, limit float64, unit string) {
	verdict := ""
	switch {
	case limit == 0:
	case got <= limit:
		verdict = fmt.Sprintf("at most %8.2f %-4s ok", limit, unit)
	default:
		verdict = fmt.Sprintf("at most %8.2f %-4s MISSED", limit, unit)
		b.failed = true
	}
	fmt.Printf("%-66s %9.2f %-4s %s\n", figure, got, unit, verdict)
}
