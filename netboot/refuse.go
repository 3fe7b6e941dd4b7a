package netboot

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Refuse is the answer to who has no right to what it asks for.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request) {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		s.Complain(from.Addr().Unmap(), "refused what boots a machine to who has no right to it")
		s.refused(r.Context(), from.Addr().Unmap(), "HTTP "+what(r), "it is of another boot, or was given already")
	}
	w.Header().Set(closes())
	http.Error(w, "this is not for you", http.StatusForbidden)
}

// closes is the field with which an answer is the last one of its connection: who asks for what
// it does not get, again and again, is no quicker than its network.
func closes() (key, value string) { return "Connection", "close" }

// bodiless answers as h does those who only ask, as all machines do: of others the server would
// wait for what they say they send.
func bodiless(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			h.ServeHTTP(w, r)
			return
		}
		// An error means that the machine is gone.
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		w.Header().Set(closes())
		http.Error(w, "nothing is to be sent here", http.StatusBadRequest)
	})
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
	w.Header().Set(closes())
	http.NotFound(w, r)
}

// what is what is asked for by HTTP, without the secret of a boot.
func what(r *http.Request) string {
	if token := r.PathValue("token"); token != "" {
		return strings.ReplaceAll(r.URL.Path, token, "...")
	}
	return r.URL.Path
}
