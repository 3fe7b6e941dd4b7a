package netboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"walt/images"
	"walt/netboot/initrd"
	"walt/nodes"
	"walt/state"
)

// noKernel is why an image cannot boot that has none, and borrows none.
const noKernel = "it has no kernel"

// pair is an image and the one that lends it its kernel, "" when it has one: digests.
type pair struct{ image, lender string }

// finding is what came of a look at a pair. It stays true: what has a digest does not
// change.
type finding struct {
	why    string   // it cannot boot any machine, in words for users; "" when it can
	kernel string   // version
	nfs    []string // what the kernel lacks for a root file system over NFS
	takes  int64    // bytes that all files take in the memory of a machine
	hollow bool     // the image has no kernel: another may lend it one
	label  string   // that then says which, see images.KernelLabel
}

// lacking says what the kernel does not have.
func (f finding) lacking(what []string) string {
	return fmt.Sprintf("its kernel %s has no %s", f.kernel, strings.Join(what, ", "))
}

// outlook is a finding about an image, and of which pair.
type outlook struct {
	finding
	at     pair
	lender images.Ref // zero when the kernel is the image's own
}

// of is what comes of booting the image on a machine.
func (o outlook) of(m Machine) nodes.Outlook {
	_, why, hint := o.root(m)
	return nodes.Outlook{Why: why, Hint: hint, Kernel: o.kernel, Lender: o.lender}
}

// findingsLimit is how many findings are remembered: they take 200 bytes each.
const findingsLimit = 10_000

// Known implements nodes.Machines.
func (s *Server) Known(r state.Reader, img images.Image, d nodes.Device) (nodes.Outlook, bool, error) {
	o, known, err := s.known(r, img)
	return o.of(Machine{Name: d.Name, Memory: d.Settings.Memory(), Settings: d.Settings}), known, err
}

// known returns what is known of an image, or else has only the pair that has to be
// looked at for that.
func (s *Server) known(r state.Reader, img images.Image) (o outlook, known bool, err error) {
	o.at.image = img.Digest
	if o.finding, known = s.found(o.at); !known || !o.hollow {
		return o, known, nil
	}
	lender, why, err := s.lender(r, img, o.label)
	if o.why = why; err != nil || why != "" {
		return o, true, err
	}
	o.at.lender, o.lender = lender.Digest, lender.Ref
	if o.finding, known = s.found(o.at); o.why != "" {
		o.why = fmt.Sprintf("%s, and that of %s does not serve: %s", noKernel, lender.Ref, o.why)
	}
	return o, known, nil
}

func (s *Server) found(at pair) (f finding, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, known = s.findings[at]
	return f, known
}

// Look implements nodes.Machines.
func (s *Server) Look(ctx context.Context, img images.Image) error {
	_, err := s.look(ctx, img)
	return err
}

// look finds out what comes of booting an image.
func (s *Server) look(ctx context.Context, img images.Image) (o outlook, err error) {
	for {
		known := false
		err = s.Store.View(ctx, func(r state.Reader) (err error) {
			o, known, err = s.known(r, img)
			return err
		})
		if known || err != nil {
			return o, err
		}
		_, err = s.looks.Do(ctx, o.at.image+o.at.lender, func(ctx context.Context) (struct{}, error) {
			f, err := s.examine(ctx, o.at)
			if err == nil {
				s.remember(o.at, f)
			}
			return struct{}{}, err
		})
		if err != nil {
			return o, err
		}
	}
}

func (s *Server) remember(at pair, f finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.findings) >= findingsLimit {
		clear(s.findings)
	}
	s.findings[at] = f
}

// examine looks at a pair.
func (s *Server) examine(ctx context.Context, at pair) (f finding, err error) {
	b := &boot{record: record{Digest: at.image, Lender: at.lender}}
	if err := s.hold(ctx, b); err != nil {
		return f, err
	}
	defer b.release()
	p, err := b.plan()
	f.hollow = at.lender == "" && errors.Is(err, initrd.ErrNoKernel)
	switch {
	case f.hollow:
		f.why, f.label = noKernel, b.run.Kernel
	case initrd.Unfit(err):
		f.why = err.Error()
	case err != nil:
		return f, fmt.Errorf("look at the kernel of %s: %w", at.image, err)
	default:
		f.kernel, f.nfs, f.takes = p.Version, p.Lacks(initrd.NFSRoot...), b.takes()
		if lacks := p.Lacks(slices.Concat(initrd.Always, initrd.Virtio)...); len(lacks) > 0 {
			f.why = f.lacking(append(lacks, f.nfs...))
		} else if gone := p.Gone(); len(gone) > 0 {
			f.why = fmt.Sprintf("its modules.dep lists /%s, which is not there", gone[0])
		}
	}
	return f, nil
}

// plan finds out with what a boot begins.
func (b *boot) plan() (*initrd.Plan, error) {
	var lender fs.FS
	if len(b.roots) > 1 {
		lender = b.roots[1].tree
	}
	return initrd.Inspect(arch, b.roots[0].tree, lender)
}

// Firmware implements nodes.Machines. It takes as much memory as an image has modules:
// who asks waits for their turn.
func (s *Server) Firmware(ctx context.Context, img images.Image) ([]nodes.Firmware, error) {
	o, err := s.look(ctx, img)
	if err != nil || o.why != "" {
		return nil, err
	}
	leave, err := s.turns.take(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	b := &boot{record: record{Digest: o.at.image, Lender: o.at.lender}}
	if err := s.hold(ctx, b); err != nil {
		return nil, err
	}
	defer b.release()
	p, err := b.plan()
	if err != nil {
		return nil, err
	}
	missing, err := p.Missing(ctx)
	var all []nodes.Firmware
	for _, m := range missing {
		all = append(all, nodes.Firmware(m))
	}
	slices.SortStableFunc(all, func(a, b nodes.Firmware) int { return strings.Compare(a.Driver, b.Driver) })
	return all, err
}
