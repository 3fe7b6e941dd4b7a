//go:build linux

// Command bench measures what the server promises, on the machine that it runs
// on. A line of its table is a figure; where that is compared, "R of X (Y)": R is
// the ratio to Y, which X took in the same run; and what is promised, of the ratio
// if there is one, with "ok" or "MISSED". A promise that is missed makes the status
// 1. On a machine with other things to do only the ratios count.
//
// It judges nothing else. Its one surprising rule: what it compares it measures in
// turns, a command each, so that other load on the machine hits all alike.
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
	dir     string
	waltd   string
	only    *regexp.Regexp
	nodes   int // of the largest lab
	changes int // that make a lab old
	rounds  int // of booting machines
	failed  bool
}

func main() {
	waltd := flag.String("waltd", "bin/waltd", "the server `program`")
	only := flag.String("only", "", "measure only the parts whose name matches this `pattern`:"+partNames()+"; without it all but those that take long")
	nodes := flag.Int("nodes", 100000, "so many `nodes` has the largest lab of sizes")
	changes := flag.Int("changes", 100000, "so many `changes` make the lab of age old")
	rounds := flag.Int("rounds", 10, "so many `times` machines boot of each kind")
	wish := flag.String("bare-wish", "", "be the wish server of the comparison, with this host `key`")
	bare := flag.String("bare-http", "", "be the HTTP server of the comparison, of this `file`")
	inside := flag.Bool("inside", false, "measure the part network: this is a network of its own")
	flag.Parse()
	if *bare != "" {
		fmt.Fprintln(os.Stderr, "bench:", bareHTTP(*bare))
		os.Exit(1)
	}
	if *wish != "" {
		fmt.Fprintln(os.Stderr, "bench:", bareWish(*wish))
		os.Exit(1)
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	b := &bench{only: pattern, nodes: *nodes, changes: *changes, rounds: *rounds}
	if b.waltd, err = filepath.Abs(*waltd); err == nil {
		if *inside {
			err = b.insideNetwork()
		} else {
			err = b.run()
		}
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
	long    bool // only for who asks for it
}{
	{"empty", 0, (*bench).empty, false},
	{"cold", 100, (*bench).cold, false},
	{"warm", 100, (*bench).warm, false},
	{"race", 1, (*bench).race, false},
	{"idle", 0, (*bench).idle, false},
	{"start", 1000, (*bench).start, false},
	{"large", 10000, (*bench).large, false},
	{"clone", 0, (*bench).clone, false},
	{"unread", 1000, (*bench).unread, false},
	{"rest", 100, (*bench).rest, false},
	{"age", 100, (*bench).age, false},
	{"writers", 100, (*bench).writers, false},
	{"queue", 1, (*bench).queue, false},
	{"images", 1, (*bench).images, false},
	{"sizes", 10, (*bench).sizes, false},
	{"files", 0, (*bench).files, false},
	{"nfs", 0, (*bench).nfs, false},
	{"network", 0, (*bench).network, false},
	{"forwards", 1, (*bench).forwards, false},
	{"power", 200, (*bench).power, false},
	{"boots", 0, (*bench).boots, true},
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
		if !b.only.MatchString(p.name) || p.long && b.only.String() == "" {
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
	l, end, err := b.open(name, nodes)
	if err != nil {
		return err
	}
	defer end()
	return measure(b, l)
}

// open starts a new lab of so many free nodes, until end.
func (b *bench) open(name string, nodes int) (l *lab.Lab, end func(), err error) {
	l, err = newLab(filepath.Join(b.dir, name), b.waltd)
	if err != nil {
		return nil, nil, err
	}
	end = func() {
		l.Kill()
		l.Registry.Stop()
	}
	if err = l.Start(); err == nil {
		err = l.Add("", user)
	}
	if err == nil && nodes > 0 {
		err = seed(l, nodes)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return l, end, nil
}
