//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"walt/e2e/lab"
)

// power measures a lab of 200 nodes on 10 devices, whose answers take 20 ms, that is switched
// as a whole, and how long others wait meanwhile. Outlets come on 200 ms apart: that takes 40 s.
func (b *bench) power(l *lab.Lab) error {
	const devices, outlets = 10, 20
	var strips []*lab.Strip
	declared, supplies := "\n[power]\nidle = \"1s\"\n", ""
	for i := range devices {
		s := lab.NewStrip(20 * time.Millisecond)
		defer s.Close()
		strips = append(strips, s)
		declared += s.Driver(fmt.Sprintf("strip%d", i))
		for at := range outlets {
			supplies += fmt.Sprintf("device config node-%d power=strip%d:%d\n", i*outlets+at, i, at)
		}
	}
	config, err := os.ReadFile(l.Config)
	if err != nil {
		return err
	}
	dark := func() (n int) {
		for _, s := range strips {
			n += s.Dark()
		}
		return n
	}
	if err := errors.Join(os.WriteFile(l.Config, append(config, declared...), 0o644), l.Stop(), l.Start(), runScript(l, lab.Admin, supplies)); err != nil {
		return err
	}
	all := fmt.Sprintf("%d nodes on %d devices: ", devices*outlets, devices)
	saved, waited, err := b.switched(l, func() error {
		for end := time.Now().Add(time.Minute); dark() < devices*outlets; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("%d outlets are off", dark())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.say(all+"idle for 1 s, until all are off", ms(saved)/1000, 10, "s")
	b.say(all+"switched off: warm whoami of another connection, p50", waited, 50, "ms")
	taken, waited, err := b.switched(l, func() error { return runScript(l, user, "node acquire node-*\n") })
	if err == nil && dark() > 0 {
		err = fmt.Errorf("%d outlets are off", dark())
	}
	if err != nil {
		return err
	}
	b.say(all+"taken, until all are on", ms(taken)/1000, 45, "s")
	b.say(all+"switched on: warm whoami of another connection, p50", waited, 50, "ms")
	return nil
}

// switched measures f, and how long others wait meanwhile.
func (b *bench) switched(l *lab.Lab, f func() error) (took time.Duration, waited float64, err error) {
	begin := time.Now()
	_, waited, err = b.beside(l, f)
	return time.Since(begin), waited, err
}
