//go:build linux

package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// storm switches on all devices at once, of which nothing is known, nor is their image
// here.
func (s *segment) storm() error {
	before, err := cpu(s.Pid())
	if err != nil {
		return err
	}
	s.booted = make([]*booted, devices)
	begun := time.Now()
	var all errgroup.Group
	for i := range s.booted {
		d := s.device(i)
		all.Go(func() (err error) {
			s.booted[i] = &booted{device: d}
			s.booted[i].script, err = d.boot()
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	took := time.Since(begun)
	after, err := cpu(s.Pid())
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d new PCs at once: ", devices)
	slowest := slices.MaxFunc(s.booted, func(a, b *booted) int { return cmp.Compare(a.worst, b.worst) })
	s.say(name+"the longest wait for an answer, "+slowest.slow, ms(slowest.worst), ms(firstWait), "ms")
	s.say(name+"until all know what to boot", took.Seconds(), 0, "s")
	s.say(name+"server CPU", ms(after-before), 0, "ms")
	s.say(name+"downloads of their image", float64(s.registry.most()), 1, "times")
	out, err := s.Run("", user, "node", "show", "--all", "--names-only")
	if got := strings.Count(out, "\n"); err == nil && got != devices {
		err = fmt.Errorf("%d of %d PCs are nodes", got, devices)
	}
	return err
}

// booted is a device that was told what to boot.
type booted struct {
	*device
	script script
}

// offers measures the offers of addresses to who is known.
func (s *segment) offers() error {
	var took []time.Duration
	for range 5 {
		for _, d := range s.booted {
			_, once, err := d.discover()
			if err != nil {
				return err
			}
			took = append(took, once)
		}
	}
	slices.Sort(took)
	s.say("DISCOVER to OFFER, p50", median(took), 0, "ms")
	s.say("DISCOVER to OFFER, p99", ms(took[len(took)*99/100]), 5, "ms")
	return nil
}

// share measures all that a device waits for, from looking for an address to its root file
// system: it does nothing else.
func (s *segment) share() error {
	var took []time.Duration
	for _, d := range s.booted[:20] {
		begun := time.Now()
		script, err := d.boot()
		if err != nil {
			return err
		}
		for _, url := range []string{script.kernel, script.initrd} {
			if _, err := d.read(url); err != nil {
				return err
			}
		}
		if err := d.root(script); err != nil {
			return err
		}
		took = append(took, time.Since(begun))
		d.script = script
	}
	s.say("DISCOVER to root, of a known PC that itself takes no time, p50", median(took), 200, "ms")
	return nil
}

// interrupted kills the server while devices boot, and starts it again at once.
func (s *segment) interrupted() error {
	again := func() error {
		if err := s.Kill(); err != nil {
			return err
		}
		return s.begin()
	}
	d := s.booted[0]
	half := false
	got, err := d.load(fetch{name: largeLoader, block: 1468, window: 1, tries: 5, has: func(bytes int) error {
		if half || bytes < loaderSizes[largeLoader]/2 {
			return nil
		}
		half = true
		return again()
	}})
	if err != nil {
		return err
	}
	s.say("kill -9 of the server in the middle of a loader: begun anew", float64(got.anew), 1, "times")
	s.say("kill -9 of the server in the middle of a loader: it takes", got.took.Seconds(), 0, "s")
	if d.script, err = d.chain(); err != nil {
		return err
	}
	if err := again(); err != nil {
		return err
	}
	n, err := d.read(d.script.kernel)
	if err == nil && n != int64(len(s.kernel)) {
		err = fmt.Errorf("after the server was killed a PC gets %d bytes of its kernel", n)
	}
	if err == nil {
		err = d.root(d.script)
	}
	return err
}

// networkRounds is how often what is compared on the network is measured, in turns.
const networkRounds = 5

// compareTFTP measures TFTP beside Debian's server.
func (s *segment) compareTFTP() error {
	stop, err := s.startTFTP()
	if err != nil {
		return err
	}
	defer stop()
	here := netip.AddrPortFrom(serverAddr, 69)
	for _, f := range []fetch{{block: 512, window: 1}, {block: 1468, window: 1}, {block: 1468, window: 16}} {
		for _, clients := range []int{1, 20, devices} {
			f.name, f.patience, f.tries = usualLoader, patience, 5
			if clients < devices {
				f.name = largeLoader
			}
			var ours, theirs, ratios []float64
			for range networkRounds {
				for _, turn := range []struct {
					server netip.AddrPort
					speeds *[]float64
				}{{here, &ours}, {besideTFTP, &theirs}} {
					f.server = turn.server
					speed, err := s.speed(f, clients)
					if err != nil {
						return err
					}
					*turn.speeds = append(*turn.speeds, speed)
				}
				ratios = append(ratios, ours[len(ours)-1]/theirs[len(theirs)-1])
			}
			figure := fmt.Sprintf("TFTP, blocks of %d bytes, windows of %d: clients: %d", f.block, f.window, clients)
			s.print(line{figure: figure, got: middle(ours), unit: "MB/s", base: middle(theirs), ratio: middle(ratios), to: "tftpd-hpa", least: 0.8})
		}
	}
	return nil
}

// speed is how many megabytes a second some devices get together that get a file at once.
func (s *segment) speed(f fetch, clients int) (float64, error) {
	var all errgroup.Group
	begun := time.Now()
	for _, d := range s.booted[:clients] {
		all.Go(func() error {
			own := f
			own.from = d.ip
			got, err := s.wire.fetch(own)
			if err == nil && got.bytes != loaderSizes[f.name] {
				err = fmt.Errorf("%d bytes of %s", got.bytes, f.name)
			}
			return err
		})
	}
	err := all.Wait()
	return float64(clients*loaderSizes[f.name]) / time.Since(begun).Seconds() / 1e6, err
}

// compareHTTP measures all devices that fetch their kernels at once, beside what the same
// takes from nothing but net/http.
func (s *segment) compareHTTP() error {
	files, err := filepath.Glob(filepath.Join(s.Data(), "*", "*.kernel")) // another file may lie otherwise in memory
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("the server has the kernels %v", files)
	}
	if err != nil {
		return err
	}
	bare, stop, err := startHTTP(files[0])
	if err != nil {
		return err
	}
	defer stop()
	fetch := func(url func(*booted) string) (time.Duration, error) {
		var all errgroup.Group
		begun := time.Now()
		for _, d := range s.booted {
			all.Go(func() error {
				n, err := d.read(url(d))
				if err == nil && n != int64(len(s.kernel)) {
					err = fmt.Errorf("%d bytes of a kernel", n)
				}
				return err
			})
		}
		err := all.Wait()
		return time.Since(begun), err
	}
	var ours, theirs []time.Duration
	var ratios []float64
	for range networkRounds {
		our, err := fetch(func(d *booted) string { return d.script.kernel })
		if err != nil {
			return err
		}
		their, err := fetch(func(*booted) string { return "http://" + bare + "/" })
		if err != nil {
			return err
		}
		ours, theirs, ratios = append(ours, our), append(theirs, their), append(ratios, our.Seconds()/their.Seconds())
	}
	s.print(line{figure: fmt.Sprintf("%d PCs fetch their kernels by HTTP at once, median", devices), got: median(ours) / 1000, unit: "s", base: median(theirs) / 1000, ratio: middle(ratios), to: "net/http", most: 1.3})
	return nil
}
