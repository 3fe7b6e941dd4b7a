package netboot

import (
	"context"
	"os"

	"walt/ethernet"
	"walt/images/content"
	"walt/netboot/initrd"
)

// Fetched is a boot whose machine fetches what it starts with, until its agent has come.
type Fetched struct {
	Machine            // as it is called by now
	Token       string // the secret that the machine shows
	CommandLine string // of its kernel
	Arch        string // of its kernel, as Go names it
	// Trees are the files of its image, and of the one that lends it its kernel, if one does.
	Trees []*content.Tree

	server *Server
	boot   *boot
}

// Fetched returns the boot that a machine fetches, nil when there is none such.
func (s *Server) Fetched(mac ethernet.MAC) *Fetched {
	b := s.bootBy(mac)
	if b == nil || !b.isFetched() {
		return nil
	}
	f := &Fetched{Machine: b.machine, Token: b.Token, CommandLine: b.CommandLine, Arch: b.arch(), server: s, boot: b}
	f.Name = b.node()
	for _, r := range b.roots {
		f.Trees = append(f.Trees, r.tree)
	}
	return f
}

// isFetched reports whether the machine of a boot fetches what it starts with, and its agent
// has not come.
func (b *boot) isFetched() bool { return b.CommandLine != "" && !b.given() }

// Plan is what the boot begins with, in those trees.
func (f *Fetched) Plan() (*initrd.Plan, error) { return f.boot.plan(f.Arch) }

// Script is what iPXE does to begin the boot, with what follows each line that may fail.
func (f *Fetched) Script(failing string) string { return f.boot.script(failing) }

// Kernel opens the kernel, as it is started; it is made again when it is gone.
func (f *Fetched) Kernel(ctx context.Context) (*os.File, error) {
	return f.server.openFile(ctx, f.boot, Boot.kernel)
}

// Initrd opens the initramfs in the same way.
func (f *Fetched) Initrd(ctx context.Context) (*os.File, error) {
	return f.server.openFile(ctx, f.boot, Boot.initrd)
}
