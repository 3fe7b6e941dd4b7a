package names

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// HostResolvers are those of this host, as HOST:PORT.
func HostResolvers() ([]string, error) {
	c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range c.Servers {
		all = append(all, net.JoinHostPort(s, c.Port))
	}
	return all, nil
}

// ask passes a question on to resolvers, in the name of a machine. It returns nil when
// nobody may be asked. An answer may be truncated, unless it has to be whole: a machine
// that asked by UDP asks again by TCP then.
func (n *Network) ask(from netip.Addr, q *dns.Msg, whole bool) *dns.Msg {
	if n.Resolvers == nil {
		return nil
	}
	ctx, all, leave := n.Resolvers(from)
	if leave == nil {
		return nil
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	a, err := askOne(ctx, all, q, whole)
	if err != nil {
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	return a
}

// askOne returns what the first of several resolvers answers that does.
func askOne(ctx context.Context, servers []string, q *dns.Msg, whole bool) (*dns.Msg, error) {
	err := errors.New("there is no resolver")
	for _, at := range servers {
		var a *dns.Msg
		a, _, err = new(dns.Client).ExchangeContext(ctx, q, at)
		if err == nil && a.Truncated && whole {
			a, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, q, at)
		}
		if err == nil {
			return a, nil
		}
	}
	return nil, err
}
