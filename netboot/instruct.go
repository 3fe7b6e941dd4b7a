package netboot

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"

	"walt/images/content"
	"walt/netboot/instructions"
	"walt/nodes"
)

// instruct answers a machine that asks for the instructions of its boot: only the
// one at the address that they are for, and only until its agent has come.
func (s *Server) instruct(w http.ResponseWriter, r *http.Request) {
	b := s.who(r)
	if b == nil || b.given() {
		s.Refuse(w, r)
		return
	}
	i, err := s.instructions(r.Context(), b)
	if err != nil {
		s.fails(r.Context(), b, "make the instructions of a boot", err)
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	s.Lab.Reached(r.Context(), b.node(), nodes.StepInitramfs) // before: its agent may be quicker
	b.mu.Lock()
	b.had, b.since = s.sentRoot(b), s.Now()
	b.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(i); err != nil {
		s.fails(r.Context(), b, "send the instructions of a boot", err) // it asks again
	}
}

// who returns the boot of the machine that asks, nil when its address or token is not
// that of one.
func (s *Server) who(r *http.Request) *boot {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	return s.at(from.Addr().Unmap(), r.PathValue("token"))
}

// instructions are those of a boot.
func (s *Server) instructions(ctx context.Context, b *boot) (*instructions.Instructions, error) {
	is, err := s.identityOf(ctx, b.machine.MAC)
	if err != nil {
		return nil, err
	}
	access, err := s.accessOf(ctx, b)
	if err != nil {
		return nil, err
	}
	m := b.machine
	seed := make([]byte, 64)
	rand.Read(seed) // never fails, see its documentation
	i := &instructions.Instructions{
		Boot: b.ID, Digest: b.Digest, Server: netip.AddrPortFrom(m.Server, PortAgent).String(), Token: b.Token,
		Host: string(b.node()), HostKey: is.HostKey, MachineID: machineID(m.MAC),
		Access: access,
		Hosts:  fmt.Sprintf("127.0.0.1\tlocalhost\n%s\t%s\n%s\tserver\n", m.IP, b.node(), m.Server),
		Clock:  s.Now().UTC(), Seed: seed,
		Volumes: b.run.Volumes, Permissive: b.permissive, Init: b.init, Root: b.root(), Rescue: b.machine.Settings.Rescue,
	}
	if m.Leased {
		i.Leased = m.IP
	}
	if m.DNS.IsValid() {
		i.ResolvConf = fmt.Sprintf("nameserver %s\n", m.DNS)
		if m.Domain != "" {
			i.ResolvConf += fmt.Sprintf("search %s\n", m.Domain)
		}
	}
	if !b.RAM { // there they come with the files
		var left int
		if i.Capabilities, left = capabilities(b.roots[0].tree); left > 0 {
			s.Log.Warn("a machine does not set the capabilities of all files: they would take too much of its memory", "node", m.Name, "left", left)
		}
	}
	if b.init == "" && len(b.run.Args) > 0 {
		i.Process = &instructions.Process{Args: b.run.Args, Env: b.run.Env, Dir: b.run.Dir, User: b.run.User}
	}
	return i, nil
}

// inits are where an image may have its init, as Linux looks for it.
var inits = []string{"sbin/init", "etc/init", "bin/init"}

// findInit returns the path of an image's init, "" when it has none.
func findInit(t *content.Tree) string {
	for _, name := range inits {
		if i, err := fs.Stat(t, name); err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0 {
			return "/" + name
		}
	}
	return ""
}
