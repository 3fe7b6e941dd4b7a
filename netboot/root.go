package netboot

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"walt/images/content"
	"walt/netboot/instructions"
	"walt/netboot/nfs"
	"walt/nodes"
)

// endless is more memory, in bytes, than a machine has: sparse files may say so.
const endless = 1 << 60

// takeLimit is how long a machine may take none of the files that it is sent.
const takeLimit = time.Minute

// root decides whether the root file system of a machine is in its memory, and says why
// the image cannot boot it, "" when it can, and what to do then.
func (f finding) root(m Machine) (ram bool, why, hint string) {
	asked := m.Settings.Root
	wants := f.takes + f.takes/2 // half of it again for all else
	fits := m.Memory == 0 || wants <= m.Memory
	ram = asked == nodes.RAMRoot || asked == nodes.AutoRoot && len(f.nfs) > 0 && fits
	hint = "boot another image, or see what this one needs: help show booting"
	switch {
	case f.why != "":
		return ram, f.why, hint
	case m.Virtual && len(f.virtio) > 0:
		return ram, f.lacking(slices.Concat(f.virtio, f.nfs)), hint
	case ram && !fits:
		why = fmt.Sprintf("it takes %d MiB of memory, and the machine has %d MiB: it would need %d", mebibytes(f.takes), m.Memory>>20, mebibytes(wants))
		return ram, why, fmt.Sprintf("give it more, with: node config %[1]s ram=%[2]dM\nor leave the image on the server, with: node config %[1]s boot.root=nfs", m.Name, mebibytes(wants))
	case ram || len(f.nfs) == 0:
		return ram, "", ""
	case fits:
		hint = fmt.Sprintf("have the whole image in its memory, with: node config %s boot.root=ram", m.Name)
	default:
		hint = fmt.Sprintf("give it the memory for the whole image, with: node config %s boot.root=ram ram=%dM", m.Name, mebibytes(wants))
	}
	return ram, f.lacking(f.nfs), hint
}

// takes is how many bytes of memory the image takes there: whole pages, and what the
// kernel needs for each file.
func (b *boot) takes() (sum int64) {
	const page, file = 4 << 10, 1 << 10
	for _, r := range b.roots {
		files, _ := r.tree.Usage()
		for n := range files {
			i, _ := r.tree.Inode(content.Root + content.Ino(n)) // it has that many
			sum += file
			if i.Mode().IsRegular() {
				sum += (min(i.Size(), endless) + page - 1) / page * page
			}
			sum = min(sum, endless)
		}
	}
	return sum
}

// mebibytes rounds up.
func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// root is what a machine is told of its root file system.
func (b *boot) root() instructions.Root {
	r := instructions.Root{Size: b.machine.Settings.Overlay}
	server := b.machine.Server
	for i, layer := range slices.Backward(b.roots) {
		if b.RAM { // the lower one first
			r.RAM = append(r.RAM, fmt.Sprintf("http://%s/root/%s/%d", netip.AddrPortFrom(server, PortHTTP), b.Token, i))
		} else { // the upper one first
			r.NFS = slices.Insert(r.NFS, 0, instructions.NFS{Server: server.String() + ":" + strconv.Itoa(PortNFS), Path: layer.path})
		}
	}
	return r
}

// sendRoot sends a layer of the root file system to the machine whose boot it is, until
// the agent says that the root is there. Connections break: a machine may ask again, and
// for what comes behind so many bytes. Who asks anew ends the connection before.
func (s *Server) sendRoot(w http.ResponseWriter, r *http.Request) {
	b := s.who(r)
	if b == nil || !b.RAM || b.isRooted() {
		s.Refuse(w, r)
		return
	}
	layer, err := strconv.Atoi(r.PathValue("layer"))
	from, wrong := strconv.ParseInt(cmp.Or(r.URL.Query().Get("from"), "0"), 10, 64)
	if err != nil || wrong != nil || layer < 0 || layer >= len(b.roots) || from < 0 {
		http.Error(w, "there is no such part", http.StatusNotFound)
		return
	}
	ctx := b.send(r.Context())
	out := &sender{ctx: ctx, w: w, control: http.NewResponseController(w), from: from, taken: func(n int64) { b.took(layer, n) }}
	defer context.AfterFunc(ctx, func() { _ = out.control.SetWriteDeadline(time.Unix(1, 0)) })() // if it has none, it ends by itself
	w.Header().Set("Content-Type", "application/x-tar")
	if err := archive(ctx, out, b.roots[layer].tree); err != nil {
		s.fails(ctx, b, "send the files of an image", err) // it asks again
		panic(http.ErrAbortHandler)                        // else it would be taken for the end
	}
}

// send is the context of one sending of a layer, which ends the one before.
func (b *boot) send(parent context.Context) context.Context {
	ctx, cancel := context.WithCancel(parent)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop != nil {
		b.stop()
	}
	if b.stop = cancel; b.over {
		cancel()
	}
	return ctx
}

// took notes that the machine has so many bytes of a layer.
func (b *boot) took(layer int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken[layer] = max(b.taken[layer], bytes)
}

// Taken implements nodes.Agents.
func (s *Server) Taken(n nodes.Name) (sum int64) {
	b := s.bootOf(n)
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, bytes := range b.taken {
		sum += bytes
	}
	return sum
}

// servesRoots notes that root file systems come from a server, until over is called.
func (s *Server) servesRoots(files *nfs.Server) (over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots[files] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.roots, files)
	}
}

// sentRoot is how many bytes of root file systems a machine was sent, from wherever it
// counts. b is locked.
func (s *Server) sentRoot(b *boot) (sum int64) {
	for _, bytes := range b.taken {
		sum += bytes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for files := range s.roots {
		sum += files.Read(b.machine.IP)
	}
	return sum
}

// tellRoot tells the lab what a machine was sent of its root file system since the step
// before. b is locked.
func (s *Server) tellRoot(ctx context.Context, b *boot, step nodes.Step) {
	sum, now := s.sentRoot(b), s.Now()
	if sum > b.had && !b.since.IsZero() {
		s.Lab.Sent(ctx, b.node(), step, sum-b.had, now.Sub(b.since))
	}
	b.had, b.since = sum, now
}

// sender writes to a machine that must take something in time, and nothing of what it
// has already.
type sender struct {
	ctx     context.Context
	w       io.Writer
	control *http.ResponseController
	from    int64       // bytes that it has
	at      int64       // bytes that were to be written
	taken   func(int64) // is called with how many it has then
}

func (s *sender) Write(b []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	known := min(max(s.from-s.at, 0), int64(len(b)))
	s.at += known
	if known == int64(len(b)) {
		return len(b), nil
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(takeLimit)); err != nil {
		return 0, err
	}
	if s.ctx.Err() != nil { // whoever ends it sets another deadline behind that
		return 0, context.Cause(s.ctx)
	}
	n, err := s.w.Write(b[known:])
	s.at += int64(n)
	s.taken(s.at)
	return int(known) + n, err
}
