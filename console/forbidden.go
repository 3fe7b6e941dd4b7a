package console

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"walt/fault"
	"walt/host"
)

// lookupLimit is how long it may take to find out where a registry is.
const lookupLimit = 5 * time.Second

// SetServices says what the server itself uses, by URLs: no serial line is there.
func (s *Lines) SetServices(urls []string) { s.services.Store(&urls) }

// refuse says why an address is none of a terminal server: who has a node could speak there
// to a service of this server, in its name.
func (s *Lines) refuse(to netip.AddrPort) error {
	// ser2net may run here, which has no port of those that need rights.
	if host.Has(to.Addr()) && (to.Port() < 1024 || int(to.Port()) == s.Own) {
		return fault.Failedf("that is a port of this server itself")
	}
	if services := s.services.Load(); services != nil {
		for _, service := range *services {
			if isAt(service, to) {
				return fault.Failedf("that is a registry, or docker, of this server")
			}
		}
	}
	return nil
}

// isAt reports whether what a URL names is at an address.
func isAt(service string, at netip.AddrPort) bool {
	u, err := url.Parse(service)
	if err != nil || u.Hostname() == "" {
		return false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if port != strconv.Itoa(int(at.Port())) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return true // to be sure
	}
	for _, ip := range all {
		if ip = ip.Unmap(); ip == at.Addr() || host.Has(ip) && host.Has(at.Addr()) {
			return true
		}
	}
	return false
}
