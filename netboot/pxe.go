package netboot

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"time"

	"walt/netboot/dhcp"
	"walt/nodes"
)

// Host implements dhcp.Hosts: machines are answered as long as they have a boot.
func (s *Server) Host(ctx context.Context, c dhcp.Client) (dhcp.Host, bool) {
	b := s.bootBy(c.MAC)
	if b == nil {
		return dhcp.Host{}, false
	}
	if c.Boots() {
		s.Lab.Reached(ctx, b.node(), nodes.StepAddress)
	}
	m := b.machine
	h := dhcp.Host{Name: string(m.Name), IP: m.IP, Net: m.Net, Server: m.Server, Router: m.Router, DNS: m.DNS, Domain: m.Domain}
	if b.CommandLine != "" {
		h.Script = b.url("ipxe")
	}
	return h, true
}

// url is where the machine of a boot finds a part of it.
func (b *boot) url(part string) string {
	return fmt.Sprintf("http://%s/%s/%s", netip.AddrPortFrom(b.machine.Server, PortHTTP), part, b.Token)
}

// script sends iPXE what it is to do, see https://ipxe.org/cmd. When that fails the
// firmware finds nothing to boot, and the machine starts anew.
func (s *Server) script(w http.ResponseWriter, r *http.Request) {
	b := s.fetches(w, r)
	if b == nil {
		return
	}
	s.Lab.Reached(r.Context(), b.node(), nodes.StepChained)
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, "#!ipxe\n"+b.script("")) // an error means that the machine is gone, or asks again
}

// script is what iPXE does to begin a boot, with what follows each line that may fail.
func (b *boot) script(failing string) string {
	return fmt.Sprintf("kernel %[1]s initrd=initrd %[2]s%[4]s\ninitrd --name initrd %[3]s%[4]s\nboot%[4]s\n", b.url("kernel"), b.CommandLine, b.url("initrd"), failing)
}

func (s *Server) sendKernel(w http.ResponseWriter, r *http.Request) {
	if b := s.fetches(w, r); b != nil {
		s.sendFile(w, r, b, nodes.StepKernel, Boot.kernel)
	}
}

func (s *Server) sendInitrd(w http.ResponseWriter, r *http.Request) {
	if b := s.fetches(w, r); b != nil {
		s.Lab.Reached(r.Context(), b.node(), nodes.StepKernel) // the script has that before
		s.sendFile(w, r, b, nodes.StepInitramfs, Boot.initrd)
	}
}

// fetches returns the boot of a machine that fetches what it starts with; nil, when it is
// refused: its agent has come, or it starts otherwise.
func (s *Server) fetches(w http.ResponseWriter, r *http.Request) *boot {
	b := s.who(r)
	if b == nil || !b.isFetched() {
		s.Refuse(w, r)
		return nil
	}
	return b
}

// sendFile sends one of the files of a boot, made again when it is gone, or a range of it.
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, b *boot, step nodes.Step, which func(Boot) string) {
	f, err := s.openFile(r.Context(), b, which)
	if err == nil {
		defer f.Close()
		err = SendFile(w, r, "application/octet-stream", f, func(bytes int64, took time.Duration) {
			s.Lab.Sent(r.Context(), b.node(), step, bytes, took)
		})
	}
	if err != nil {
		s.fails(r.Context(), b, "send what a machine starts with", err)
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}
}

func (s *Server) openFile(ctx context.Context, b *boot, which func(Boot) string) (*os.File, error) {
	files, err := s.files.of(ctx, b, s.Agent)
	if err != nil {
		return nil, err
	}
	return os.Open(which(files))
}
