package netboot

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
)

// Refuse is the answer to who has no right to what it asks for.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request) {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		s.Complain(from.Addr().Unmap(), "refused what boots a machine to who has no right to it")
		s.refused(r.Context(), from.Addr().Unmap(), "HTTP "+what(r), "it is of another boot, or was given already")
	}
	http.Error(w, "this is not for you", http.StatusForbidden)
}

// refused tells the lab of a file that who has an address does not get.
func (s *Server) refused(ctx context.Context, from netip.Addr, file, why string) {
	n, here := s.NodeAt(from)
	for _, site := range s.served() {
		if !here {
			n, here = site.Called(ctx, from)
		}
	}
	if here {
		s.Lab.Refused(ctx, n, file, why)
	}
}

// refuseFiles tells what a machine does wrong that reads files by NFS.
func (s *Server) refuseFiles(from netip.Addr, why string, args ...any) {
	s.Complain(from, why, args...)
	if what, is := strings.CutPrefix(why, "nfs: refused "); is { // else it may be no boot's
		s.refused(context.Background(), from, "NFS", "refused "+what)
	}
}

// noFile answers who asks by HTTP for what there is not.
func (s *Server) noFile(w http.ResponseWriter, r *http.Request) {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		s.refused(r.Context(), from.Addr().Unmap(), "HTTP "+what(r), "there is no such file")
	}
	http.NotFound(w, r)
}

// what is what is asked for by HTTP, without the secret of a boot.
func what(r *http.Request) string {
	if token := r.PathValue("token"); token != "" {
		return strings.ReplaceAll(r.URL.Path, token, "...")
	}
	return r.URL.Path
}
