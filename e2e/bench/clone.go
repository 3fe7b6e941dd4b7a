//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"walt/e2e/lab"
)

// clone measures how an image of 1 GiB in 8 layers comes from a registry on
// loopback, beside skopeo, which copies it to a directory; and how long a clone
// of what is here takes.
func (b *bench) clone(l *lab.Lab) error {
	const rounds = 5
	if _, err := exec.LookPath("skopeo"); err != nil {
		return err
	}
	big := lab.Image{Models: []string{"rpi-3-b"}, Name: "bench/big:latest", Layers: 8, Bulk: 128 << 10}
	if err := l.Registry.Push(big); err != nil {
		return err
	}
	time.Sleep(settle)
	idle, err := resident(l.Pid())
	if err != nil {
		return err
	}
	var ours, theirs []time.Duration
	peak := idle
	for range rounds {
		taken, err := b.skopeo(l)
		if err != nil {
			return err
		}
		theirs = append(theirs, taken)
		taken, kib, err := cloneOnce(l)
		if err != nil {
			return err
		}
		ours, peak = append(ours, taken), max(peak, kib)
	}
	b.say("1 GiB of 8 layers from a registry on loopback: skopeo copy", median(theirs), 0, "ms")
	b.say("1 GiB of 8 layers from a registry on loopback: image clone", median(ours), median(theirs), "ms")
	b.say("resident memory above idle meanwhile, the most", (peak-idle)/1024, 64, "MiB")
	return b.cloneHere(l)
}

// skopeo copies the image as its users do.
func (b *bench) skopeo(l *lab.Lab) (time.Duration, error) {
	dir := filepath.Join(b.dir, "skopeo")
	defer os.RemoveAll(dir)
	start := time.Now()
	out, err := exec.Command("skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://"+l.Registry.Address()+"/bench/big:latest", "dir:"+dir).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("skopeo: %w: %s", err, out)
	}
	return time.Since(start), nil
}

// cloneOnce clones the image into a server that has nothing of it, and returns
// the most memory in KiB that this took.
func cloneOnce(l *lab.Lab) (taken time.Duration, peak float64, err error) {
	if _, err := l.Run("", user, "image", "remove", "big"); err == nil {
		if err := age(l); err != nil {
			return 0, 0, err
		}
		freed, err := l.Run("", user, "advanced", "gc")
		if err == nil && !strings.HasPrefix(freed, "2.0 GiB") {
			err = fmt.Errorf("the image stayed: %s", freed)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	peak, err = most(l.Pid(), func() error {
		start := time.Now()
		defer func() { taken = time.Since(start) }()
		_, err := l.Run("", user, "image", "clone", "lab:bench/big")
		return err
	})
	return taken, peak, err
}

// age makes all content older than the time that the collector spares it for.
func age(l *lab.Lab) error {
	before := time.Now().Add(-2 * time.Hour)
	return filepath.Walk(filepath.Join(l.Data(), "images"), func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, before, before)
	})
}

// cloneHere measures clones of the image that is here now.
func (b *bench) cloneHere(l *lab.Lab) error {
	c, err := l.Dial(user)
	if err != nil {
		return err
	}
	defer c.Close()
	var all []time.Duration
	for n := range 200 {
		taken, err := timed(c, fmt.Sprintf("image clone walt:%s/big copy-%d", user, n))
		if err != nil {
			return err
		}
		all = append(all, taken)
	}
	b.say("warm image clone of 1 GiB that is here, p50", median(all), 5, "ms")
	return nil
}
