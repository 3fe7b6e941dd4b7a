package netboottest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"walt/images"
	"walt/nodes"
)

// Boot implements netboot.Lab, as the next methods do.
func (f *Fixture) Boot(_ context.Context, n nodes.Name) (images.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boots[n], nil
}

func (f *Fixture) Reached(_ context.Context, n nodes.Name, s nodes.Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, fmt.Sprintf("%s %s", n, s))
}

func (f *Fixture) Up(n nodes.Name, addr string) { f.Told <- fmt.Sprintf("%s up at %s", n, addr) }

func (f *Fixture) Lost(n nodes.Name, heard time.Time, about string) {
	f.Told <- strings.TrimSpace(fmt.Sprintf("%s lost %s", n, about))
}

func (f *Fixture) Failed(n nodes.Name, reason error) {
	f.Told <- fmt.Sprintf("%s failed: %v", n, reason)
}

func (f *Fixture) Stopped(n nodes.Name, addr string, failed error) {
	if failed != nil {
		f.Failed(n, failed)
	}
	f.Told <- fmt.Sprintf("%s stopped at %s", n, addr)
}

func (f *Fixture) Ended(n nodes.Name, how string, again bool) {
	f.Told <- fmt.Sprintf("%s: %s, again %v", n, how, again)
}

func (f *Fixture) Admitted(_ context.Context, n nodes.Name) (*nodes.Admission, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.admitted[n]
	return &nodes.Admission{Lines: lines, Version: strings.Join(lines, "\n")}, nil
}

// Admit has a node let in others from now on, beside the lab: lines of authorized_keys.
func (f *Fixture) Admit(n nodes.Name, lines ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admitted[n] = lines
}

func (f *Fixture) Wrote(n nodes.Name, bytes, most int64) {
	f.Told <- fmt.Sprintf("%s wrote %d of %d", n, bytes, most)
}

func (f *Fixture) Prepares(context.Context, nodes.Name, bool) {}

func (f *Fixture) Sent(_ context.Context, n nodes.Name, step nodes.Step, bytes int64, _ time.Duration) {
	f.notes(fmt.Sprintf("%s sent %d for %s", n, bytes, step))
}

func (f *Fixture) Refused(_ context.Context, n nodes.Name, file, why string) {
	f.notes(fmt.Sprintf("%s refused %s: %s", n, file, why))
}

func (f *Fixture) Strayed(ctx context.Context, n nodes.Name) { f.Reached(ctx, n, "strayed") }

func (f *Fixture) Troubled(_ context.Context, key string, t nodes.Trouble) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wrong == nil {
		f.wrong = map[string]string{}
	}
	f.wrong[key] = strings.TrimSpace(string(t.Node) + " " + t.Text)
}

func (f *Fixture) Calmed(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.wrong, key)
}

func (f *Fixture) Itself(_ context.Context, n nodes.Name, m images.Model) error {
	f.Told <- fmt.Sprintf("%s reports itself as %s", n, m)
	return nil
}

// Choose has a node boot an image from now on.
func (f *Fixture) Choose(n nodes.Name, image string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots[n] = f.Images[image]
}

// Hears wants the lab to be told something of a node next.
func (f *Fixture) Hears(want string) {
	f.T.Helper()
	select {
	case got := <-f.Told:
		if got != want {
			f.T.Errorf("the lab was told %q, want %q", got, want)
		}
	case <-time.After(time.Minute):
		f.T.Errorf("the lab was not told %q", want)
	}
}

// Worries are what is wrong on the network.
func (f *Fixture) Worries() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.wrong)
}

// Steps are those that boots reached, as "node step".
func (f *Fixture) Steps() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.steps)
}

// Files is what the lab was told of files that were sent, or refused.
func (f *Fixture) Files() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.files)
}

// notes notes something that the lab was told of files.
func (f *Fixture) notes(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = append(f.files, what)
}
