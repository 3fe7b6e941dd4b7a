package boards

import (
	"context"

	"walt/fault"
	"walt/images"
	"walt/netboot"
	"walt/netboot/tftp"
)

// mostBlocks is how many blocks ROMs count: they do not begin anew at 0.
const mostBlocks = 65535

// romBlock is how many bytes the ROM of a board of a model asks for at once.
func romBlock(m images.Model) int64 {
	if isLater(m) {
		return 1024
	}
	return 512
}

// fits returns a fault when the ROM of a board cannot load a boot, since it counts too few
// blocks.
func (b *boards) fits(ctx context.Context, made *netboot.Fetched) error {
	most := mostBlocks * romBlock(made.Model)
	for _, part := range []struct {
		what, hint string
		open       func(context.Context, *netboot.Fetched) (tftp.File, error)
	}{
		{"kernel", "give the image a smaller one; of those for arm64 the board's firmware loads what gzip makes of them", b.romKernel},
		{"initramfs", "give the image a kernel with fewer modules", b.romInitrd},
	} {
		f, err := part.open(ctx, made)
		if err != nil {
			return err
		}
		f.Close()
		if f.Size >= most {
			return fault.Failedf("the image cannot boot a %s: its %s has %d MiB, and the board's firmware loads less than %d", made.Model, part.what, f.Size>>20, (most+1<<20)>>20).
				WithHint("%s", part.hint)
		}
	}
	return nil
}

// romKernel is the kernel of a boot: as it is in the image if that has it compressed in a way
// that ROMs know, which are slow with large files, and count few blocks.
func (b *boards) romKernel(ctx context.Context, made *netboot.Fetched) (tftp.File, error) {
	if made.Arch == "arm64" {
		p, err := made.Plan()
		if err != nil {
			return tftp.File{}, err
		}
		f, err := openAt(p.Tree, p.Kernel)
		if err != nil {
			return tftp.File{}, err
		}
		head := make([]byte, 2)
		if _, err := f.ReadAt(head, 0); err == nil && string(head) == "\x1f\x8b" { // gzip
			return f, nil
		}
		f.Close()
	}
	return b.bootFile(ctx, made, made.Kernel)
}

// romInitrd is the initramfs of a boot.
func (b *boards) romInitrd(ctx context.Context, made *netboot.Fetched) (tftp.File, error) {
	return b.bootFile(ctx, made, made.Initrd)
}
