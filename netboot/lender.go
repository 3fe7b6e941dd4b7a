package netboot

import (
	"context"
	"fmt"
	"path"
	"strings"

	"walt/images"
	"walt/images/content"
	"walt/netboot/nfs"
	"walt/state"
)

// lent is what an image lends whose kernel boots another one, and where that is below
// the other's files. Modules and firmware are in both places where distributions have
// them: whichever of these the image has as a link to the other is not seen there.
var lent = []content.Place{
	{From: "boot", To: "boot"},
	{From: "lib/modules", To: "lib/modules"},
	{From: "usr/lib/modules", To: "lib/modules"},
	{From: "lib/modules", To: "usr/lib/modules"},
	{From: "usr/lib/modules", To: "usr/lib/modules"},
	{From: "lib/firmware", To: "lib/firmware"},
	{From: "usr/lib/firmware", To: "lib/firmware"},
	{From: "lib/firmware", To: "usr/lib/firmware"},
	{From: "usr/lib/firmware", To: "usr/lib/firmware"},
}

// deviceTrees are where Debian's kernels have theirs, which is lent, too.
func deviceTrees(tree *content.Tree) (places []content.Place) {
	for _, parent := range []string{"usr/lib", "lib"} {
		all, err := tree.ReadDir(parent)
		if err != nil { // there is none
			continue
		}
		for _, e := range all {
			if strings.HasPrefix(e.Name(), "linux-image-") {
				name := path.Join(parent, e.Name())
				places = append(places, content.Place{From: name, To: name})
			}
		}
	}
	return places
}

// lending is the file system with what the image with the digest lends, by a digest
// that no image has: that of the image is for all of its files.
func lending(digest string, part *content.Tree) root {
	d := content.Sum([]byte("lent by " + digest))
	return root{nfs.IDOf(d), nfs.Path(d), part}
}

// SetKernel says which images lend their kernels to those that have none and do not name
// others: names with spaces between, each OWNER/NAME, or the NAME of a default image; "" is
// none. Machines that run go on with what they have.
func (s *Server) SetKernel(images string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kernel = images
}

// borrows completes the outlook for an image that has no kernel, whose label names those that
// lend it one unless that is "": the first of them counts whose kernel serves. known is false
// when one has to be looked at for that, which the pair then tells.
func (s *Server) borrows(r state.Reader, img images.Image, o outlook) (_ outlook, known bool, err error) {
	owner, names, who := img.Ref.User, o.label, "its label "+images.KernelLabel
	if names == "" {
		s.mu.Lock()
		names, who = s.kernel, "the server's configuration"
		s.mu.Unlock()
		owner = images.DefaultRef("").User
	}
	whys := []string{noKernel}
	for name := range strings.FieldsSeq(names) {
		lender, found, err := images.Lender(r, owner, name)
		if err != nil {
			return o, false, err
		}
		if !found {
			whys = append(whys, fmt.Sprintf("there is no image %.100q here, which %s names to lend one", name, who))
			continue
		}
		o.at.lender, o.lender = lender.Digest, lender.Ref
		if o.finding, known = s.found(o.at); !known || o.why == "" {
			return o, known, nil
		}
		whys = append(whys, fmt.Sprintf("that of %s does not serve: %s", lender.Ref, o.why))
	}
	o.why = strings.Join(whys, ", and ")
	return o, true, nil
}

// borrow takes hold of the image that lends a boot its kernel.
func (s *Server) borrow(ctx context.Context, b *boot) error {
	tree, _, release, err := s.Library.Hold(ctx, b.Lender)
	if err != nil {
		return err
	}
	part := s.lentBefore(b.Lender)
	if part == nil {
		part = tree.Part(append(deviceTrees(tree), lent...)...)
	}
	own := b.release
	b.release = func() {
		own()
		release()
	}
	b.roots = append(b.roots, lending(b.Lender, part))
	return nil
}

// lentBefore returns what an image lends to a machine that runs: it is the same for
// all.
func (s *Server) lentBefore(lender string) *content.Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.boots {
		if b.Lender == lender && len(b.roots) > 1 {
			return b.roots[1].tree
		}
	}
	return nil
}
