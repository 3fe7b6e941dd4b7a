// Package sim runs simulated nodes, which live inside the server. It decides
// nothing; what a node boots, and who may use it, is the lab's business. No
// machine is emulated (vnode/qemu has those), but each node has an SSH server of its own on loopback with a small POSIX shell. Its files
// are those of the image that the node booted, and over them, in memory, what
// was changed since. Its one surprising rule: a node asks what to boot every time
// that it starts, so a change of its image takes effect with the next Start and
// no earlier.
//
// The shell is not trusted: whoever has a node types into it what he wants. It
// runs in the server, on a syntax tree, and none of it uses package os or a
// process; what it may take is bounded, per node: the changes of files, and what
// programs keep, by diskSize; processes by processLimit; depth by depthLimit;
// scripts by longest and openLimit; and per shell: variables by varsLimit, the
// words of a command by wordLimit. All busy nodes together take about a sixth of
// a processor (pace). Everything ends with its session.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/fault"
	"walt/images"
	"walt/nodes"
	"walt/pause"
)

// Lab is whom nodes ask and tell. The calls about one node come one after the
// other, each Boot followed by a Down or Failed sooner or later.
type Lab interface {
	// Boot returns the image that the node is to boot now.
	Boot(ctx context.Context, n nodes.Name) (images.Image, error)
	// Up tells that the node runs; addr is host:port of its SSH server.
	Up(n nodes.Name, addr string)
	// Down tells that the node has no power, and why if somebody made that; again, that
	// it starts anew at once.
	Down(n nodes.Name, again bool, why string)
	// Failed tells that the node could not boot, or not run on, and is off.
	Failed(n nodes.Name, reason error)
	// Admits reports whether the node lets in who has proved to hold a key or certificate.
	Admits(ctx context.Context, n nodes.Name, key ssh.PublicKey) (bool, error)
	// HostSigners are the host key of the node and the certificates of that; none: it makes
	// itself a key.
	HostSigners(ctx context.Context, n nodes.Name) ([]ssh.Signer, error)
}

// Library is where nodes find the content of images.
type Library interface {
	// Files returns the file system of an image by its digest. It resolves
	// symbolic links inside of it, and may implement fs.ReadLinkFS.
	Files(ctx context.Context, digest string) (fs.FS, error)
}

// Boots is how many simulated nodes do the work of booting at the same time;
// the others wait for their turn.
const Boots = 32

// Hypervisor runs simulated nodes. Set its fields before the first Start.
type Hypervisor struct {
	Lab     Lab
	Library Library
	Trust   ssh.PublicKey // that nodes let in as root, beside whom the lab admits
	Log     *slog.Logger
	Delay   time.Duration    // how long a boot takes: a quarter of it before the node asks what to boot
	Now     func() time.Time // for uptime and the ages of files
	// Says is told what a node says with logger: a stream and a line. nil: nobody is.
	Says func(ctx context.Context, n nodes.Name, stream, line string)

	turns  chan struct{} // holds a token for each boot that works
	turn   sync.Mutex    // of the node that rests after it was busy
	lives  sync.WaitGroup
	mu     sync.Mutex // guards what follows
	nodes  map[nodes.Name]*life
	closed bool
}

// life is a node from one Start to the next, or to Stop.
type life struct {
	again atomic.Bool // the next one follows at once
	end   context.CancelFunc
	off   chan struct{} // closed when the node is off for good
}

// New returns a Hypervisor whose nodes take about a second to boot. Close ends it.
func New(lab Lab, library Library, trust ssh.PublicKey, log *slog.Logger) *Hypervisor {
	return &Hypervisor{
		Lab: lab, Library: library, Trust: trust, Log: log,
		Delay: time.Second, Now: time.Now,
		turns: make(chan struct{}, Boots), nodes: map[nodes.Name]*life{},
	}
}

// Start powers the node on. If it is on, its power is cut first, and Start
// returns after the lab was told so: nothing of the earlier run is heard of
// later. It does not wait for the boot. After Close it fails.
func (s *Hypervisor) Start(n nodes.Name) error {
	ctx, end := context.WithCancel(context.Background())
	l := &life{end: end, off: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		end()
		return fault.Failedf("the server is stopping")
	}
	before := s.nodes[n]
	s.nodes[n] = l
	s.lives.Add(1)
	s.mu.Unlock()
	if before != nil {
		before.again.Store(true)
		before.end()
		<-before.off
	}
	go func() { // ends with ctx: Start, Stop and Close end it
		defer s.lives.Done()
		defer close(l.off)
		s.live(ctx, l, n)
	}()
	return nil
}

// Resume finds nothing: simulated nodes end with the server.
func (s *Hypervisor) Resume(context.Context, nodes.Name) bool { return false }

// Stop cuts the power of the node. It returns when it is off, its connections
// are closed, all that ran on it has ended, and the lab was told.
func (s *Hypervisor) Stop(n nodes.Name) {
	s.mu.Lock()
	l := s.nodes[n]
	s.mu.Unlock()
	if l == nil {
		return
	}
	l.end()
	<-l.off
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes[n] == l { // a Start meanwhile had to wait for it, too
		delete(s.nodes, n)
	}
}

// Close cuts the power of all nodes, for ever, and returns when they are off.
func (s *Hypervisor) Close() {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.nodes {
		l.end()
	}
	s.mu.Unlock()
	s.lives.Wait()
}

// live runs a node, again after each reboot that it does by itself, until ctx
// ends or it cannot boot.
func (s *Hypervisor) live(ctx context.Context, l *life, n nodes.Name) {
	for {
		err := s.run(ctx, n)
		again := errors.Is(err, errReboot)
		if !again && ctx.Err() == nil {
			s.Lab.Failed(n, err)
			return
		}
		why := ""
		if !again {
			why = "the server cut its power"
		}
		s.Lab.Down(n, again || l.again.Load(), why)
		if !again || ctx.Err() != nil {
			return
		}
	}
}

// run is a node from power on to power off. It returns why that was.
func (s *Hypervisor) run(ctx context.Context, n nodes.Name) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := pause.For(ctx, s.Delay/4); err != nil {
		return err
	}
	var image images.Image
	err = s.inTurn(ctx, func() (err error) {
		image, err = s.Lab.Boot(ctx, n)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask the lab what to boot: %w", err)
	}
	if err := pause.For(ctx, s.Delay-s.Delay/4); err != nil {
		return err
	}
	var m *machine
	err = s.inTurn(ctx, func() error {
		files, err := s.Library.Files(ctx, image.Digest)
		if err != nil {
			return fmt.Errorf("open image %s: %w", image.Ref, err)
		}
		m, err = s.powerOn(ctx, n, files)
		return err
	})
	if err != nil {
		return err
	}
	defer m.listener.Close()
	s.Lab.Up(n, m.listener.Addr().String())
	return m.serve(ctx)
}

// inTurn does a part of a boot while not too many others do.
func (s *Hypervisor) inTurn(ctx context.Context, work func() error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s.turns <- struct{}{}:
	}
	defer func() { <-s.turns }()
	return work()
}
