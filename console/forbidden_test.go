package console

import (
	"net/netip"
	"testing"
)

// A serial line is at no port of the server itself, nor at what it uses.
func TestNoSerialLine(t *testing.T) {
	t.Parallel()
	s := New(Config{Own: 2222})
	s.SetServices([]string{"", "unix:///var/run/docker.sock", "http://localhost:5000", "https://192.0.2.9", "http://192.0.2.9:5001/path", "tcp://192.0.2.8:2375"})
	for at, may := range map[string]bool{
		"127.0.0.1:3001": true, "192.0.2.7:22": true, "192.0.2.9:5002": true, "192.0.2.8:5000": true, "192.0.2.7:2222": true,
		"127.0.0.1:2222": false, "127.0.0.2:22": false, "[::1]:80": false, "127.0.0.1:5000": false, "127.9.9.9:5000": false,
		"192.0.2.9:443": false, "192.0.2.9:5001": false, "192.0.2.8:2375": false,
	} {
		if err := s.refuse(netip.MustParseAddrPort(at)); may != (err == nil) {
			t.Errorf("%s: %v", at, err)
		}
	}
}
