package netboot

import (
	"cmp"
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

// pair is an image, the one that lends it its kernel, "" when it has one, by their digests,
// and what the machine is: the architectures that it runs, the best first, and its model.
type pair struct{ image, lender, archs, model string }

// finding is what came of a look at a pair. It stays true: what has a digest does not
// change.
type finding struct {
	why    string   // it cannot boot any machine, in words for users; "" when it can
	arch   string   // of its kernel, as Go names it
	model  string   // for which the image has that kernel; "" when it is for all
	args   string   // more for the kernel, from the label of the image
	kernel string   // version
	virtio []string // what the kernel lacks for the network of a machine of the server
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
	m := Machine{Name: d.Name, Model: d.Model, Virtual: d.Virtual(), Settings: d.Settings()}
	if m.Virtual {
		m.Memory = d.Settings().Memory()
	}
	o, known, err := s.known(r, img, d.Model)
	return o.of(m), known, err
}

// known returns what is known of an image for machines of a model, or else has only the
// pair that has to be looked at for that.
func (s *Server) known(r state.Reader, img images.Image, model images.Model) (o outlook, known bool, err error) {
	o.at.image = img.Digest
	archs := s.archs(model)
	if len(archs) == 0 {
		o.why = fmt.Sprintf("machines of the model %s run %s, for which this server has no program", model, strings.Join(s.Library.Runs(model), ", "))
		return o, true, nil
	}
	o.at.archs, o.at.model = strings.Join(archs, " "), string(model)
	if o.finding, known = s.found(o.at); !known || !o.hollow {
		return o, known, nil
	}
	return s.borrows(r, img, o)
}

// archs are the architectures of which a machine of a model can boot kernels from here,
// the best first, as Go names them: all, when nobody tells what it runs.
func (s *Server) archs(model images.Model) (all []string) {
	runs := s.Library.Runs(model)
	if len(runs) == 0 {
		return initrd.Archs
	}
	for _, platform := range runs {
		arch, _, _ := strings.Cut(strings.TrimPrefix(platform, "linux/"), "/")
		if slices.Contains(initrd.Archs, arch) && !slices.Contains(all, arch) {
			all = append(all, arch)
		}
	}
	return all
}

func (s *Server) found(at pair) (f finding, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, known = s.findings[at]
	return f, known
}

// Look implements nodes.Machines.
func (s *Server) Look(ctx context.Context, img images.Image, model images.Model) error {
	_, err := s.look(ctx, img, model)
	return err
}

// KernelOf returns the digest of the image whose kernel machines of a model boot an image with:
// of the one that lends it, or its own.
func (s *Server) KernelOf(ctx context.Context, img images.Image, model images.Model) (string, error) {
	o, err := s.look(ctx, img, model)
	return cmp.Or(o.at.lender, o.at.image), err
}

// look finds out what comes of booting an image on machines of a model.
func (s *Server) look(ctx context.Context, img images.Image, model images.Model) (o outlook, err error) {
	for {
		known := false
		err = s.Store.View(ctx, func(r state.Reader) (err error) {
			o, known, err = s.known(r, img, model)
			return err
		})
		if known || err != nil {
			return o, err
		}
		_, err = s.looks.Do(ctx, fmt.Sprint(o.at), func(ctx context.Context) (struct{}, error) {
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
	b := &boot{record: record{Digest: at.image, Lender: at.lender, Model: at.model}}
	if err := s.hold(ctx, b); err != nil {
		return f, err
	}
	defer b.release()
	p, err := b.plan(strings.Fields(at.archs)...)
	f.hollow = at.lender == "" && errors.Is(err, initrd.ErrNoKernel)
	switch {
	case f.hollow:
		f.why, f.label = noKernel, b.run.Kernel
	case initrd.Unfit(err):
		f.why = err.Error()
	case err != nil:
		return f, fmt.Errorf("look at the kernel of %s: %w", at.image, err)
	default:
		if p.OfModel {
			f.model = at.model
		}
		f.arch, f.kernel, f.nfs, f.virtio, f.takes = p.Arch, p.Version, p.Lacks(initrd.NFSRoot...), p.Lacks(initrd.Virtio...), b.takes()
		if lacks := p.Lacks(initrd.Always...); len(lacks) > 0 {
			f.why = f.lacking(slices.Concat(lacks, f.nfs))
		} else if gone := p.Gone(); len(gone) > 0 {
			f.why = fmt.Sprintf("its modules.dep lists /%s, which is not there", gone[0])
		}
		args, bad := images.ParseBootArgs(b.run.Boot)
		if f.args = args; bad != nil {
			f.why = fmt.Sprintf("its label %s has %v", images.BootArgsLabel, bad)
		}
	}
	return f, nil
}

// plan finds out with what a boot begins on a machine that runs some architectures.
func (b *boot) plan(archs ...string) (*initrd.Plan, error) {
	var lender fs.FS
	if len(b.roots) > 1 {
		lender = b.roots[1].tree
	}
	return initrd.Inspect(archs, b.Model, b.roots[0].tree, lender)
}

// Firmware implements nodes.Machines. It takes as much memory as an image has modules:
// who asks waits for their turn.
func (s *Server) Firmware(ctx context.Context, img images.Image, model images.Model) ([]nodes.Firmware, error) {
	o, err := s.look(ctx, img, model)
	if err != nil || o.why != "" {
		return nil, err
	}
	leave, err := s.turns.take(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	b := &boot{record: record{Digest: o.at.image, Lender: o.at.lender, Model: o.model}}
	if err := s.hold(ctx, b); err != nil {
		return nil, err
	}
	defer b.release()
	p, err := b.plan(o.arch)
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
