package images

import (
	"strings"

	"walt/auth"
	"walt/state"
)

// KernelLabel names the images that lend their kernels to one that has none, with spaces
// between, as Lender understands each.
const KernelLabel = "walt.kernel"

// Lender returns the image that a name means as the one that lends its kernel to an
// image of the owner, if it is here: OWNER/NAME is that one; a NAME is one of the
// owner, or else of the default images. Both may have a tag. What is no name means
// nothing.
func Lender(r state.Reader, owner auth.Name, name string) (img Image, found bool, err error) {
	ref, invalid := ParseName(owner, name)
	if strings.Contains(name, "/") {
		ref, invalid = ParseRef(name)
	}
	if invalid != nil {
		return img, false, nil
	}
	img, found, err = Find(r, ref)
	if found || err != nil || strings.Contains(name, "/") {
		return img, found, err
	}
	return Find(r, Ref{auth.Nobody, ref.Name, ref.Tag})
}
