package auth

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"time"

	"walt/fault"
)

// options are the restrictions of a key: those of its line of authorized_keys,
// as sshd(8) documents them, or the critical options of a certificate.
type options struct {
	from       []pattern // nil: from anywhere
	expires    time.Time // zero: never
	command    string    // "": any
	noPTY      bool      // no terminal
	noForwards bool
	forwards   bool // were given back
}

const allowedOptions = `allowed are from="ADDRESS,...", expiry-time="YYYYMMDD[HHMM[SS]][Z]", command="COMMAND", restrict, pty, no-pty,
port-forwarding, no-port-forwarding, no-agent-forwarding, no-X11-forwarding and no-user-rc`

// parseOptions reads the options of a line of authorized_keys. As in OpenSSH,
// names ignore case, values are quoted, \" is a quote within them, from and
// command come at most once, the earliest expiry-time counts, and pty and port-forwarding
// give back what an option before them took. Unlike there, a key that runs one command has
// no forwards. Those that take away what nobody has here need
// no more than to be known.
func parseOptions(text string, local *time.Location) (options, *fault.Error) {
	var o options
	for text != "" {
		end := strings.IndexAny(text+",", "=,")
		name, rest := text[:end], text[end:]
		name = strings.ToLower(name)
		form, value, ok := name, "", true
		switch name {
		case "from", "expiry-time", "command":
			form += `="VALUE"`
			value, rest, ok = dequote(rest)
		case "restrict", "pty", "no-pty", "port-forwarding", "no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding", "no-user-rc":
		default:
			return o, fault.Usagef("unknown option %.24q", name).WithHint(allowedOptions)
		}
		if !ok || rest == "," || rest != "" && rest[0] != ',' {
			return o, fault.Usagef(`malformed option %s: it is written %s, with a comma before the next option`, name, form).
				WithHint(allowedOptions)
		}
		if err := o.set(name, value, local); err != nil {
			return o, err
		}
		text = strings.TrimPrefix(rest, ",")
	}
	if o.command != "" && o.forwards {
		return o, fault.Usagef("option port-forwarding beside command: a key that runs one command forwards nothing").WithHint("leave out one of the two")
	}
	return o, nil
}

// dequote reads ="value" and returns what follows it.
func dequote(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, `="`)
	var b strings.Builder
	for i := 0; ok && i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && strings.HasPrefix(s[i+1:], `"`):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func (o *options) set(name, value string, local *time.Location) (err *fault.Error) {
	switch name {
	case "restrict":
		o.noPTY, o.noForwards, o.forwards = true, true, false
	case "no-pty", "pty":
		o.noPTY = name == "no-pty"
	case "no-port-forwarding", "port-forwarding":
		o.forwards = name == "port-forwarding"
		o.noForwards = !o.forwards
	case "from":
		if o.from != nil {
			return fault.Usagef("option from is given twice").WithHint("put all addresses into one, separated by commas")
		}
		o.from, err = parsePatterns(value)
	case "command":
		if o.command != "" {
			return fault.Usagef("option command is given twice").WithHint("a key runs one command")
		}
		o.command, err = parseCommand(value)
	case "expiry-time":
		var t time.Time
		t, err = parseExpiry(value, local)
		if o.expires.IsZero() || t.Before(o.expires) {
			o.expires = t
		}
	}
	return err
}

// parseCommand refuses the empty command, which would be taken for none.
func parseCommand(value string) (string, *fault.Error) {
	if strings.TrimSpace(value) == "" {
		return "", fault.Usagef("option command is empty").WithHint(`write the command that the key runs, as in command="node show"`)
	}
	return value, nil
}

var expiryForm = regexp.MustCompile(`^(\d{8}|\d{12}|\d{14})(?i:(z|utc)?)$`)

func parseExpiry(value string, local *time.Location) (time.Time, *fault.Error) {
	if m := expiryForm.FindStringSubmatch(value); m != nil {
		if m[2] != "" {
			local = time.UTC
		}
		t, err := time.ParseInLocation("20060102150405"[:len(m[1])], m[1], local)
		if err == nil && t.Unix() > 0 {
			return t, nil
		}
	}
	return time.Time{}, fault.Usagef("option expiry-time: %.40q is not a time", value).
		WithHint(`write expiry-time="YYYYMMDD", "YYYYMMDDHHMM" or "YYYYMMDDHHMMSS", with a Z at its end for UTC`)
}

// permit returns a Refusal unless the key may be used from there and now.
func (o options) permit(from netip.Addr, now time.Time) error {
	if o.from != nil && !matches(o.from, from) {
		return Refusal(fmt.Sprintf("the key is not allowed from %s", from))
	}
	if o.expired(now) {
		return Refusal("the key expired at " + o.expires.Format(time.RFC3339))
	}
	return nil
}

// forwardsNothing reports whether no nodes are reached over connections with the key.
func (o options) forwardsNothing() bool { return o.noForwards || o.command != "" }

func (o options) expired(now time.Time) bool {
	return !o.expires.IsZero() && !now.Before(o.end())
}

// pattern is one item of a pattern list: a network or, when that is invalid, a
// glob over the text of an address.
type pattern struct {
	not  bool
	net  netip.Prefix
	glob string
}

// globForm is what the text of an address with wildcards looks like.
var globForm = regexp.MustCompile(`^([0-9.]*[*?][0-9.*?]*|[0-9a-f:*?]*:[0-9a-f:*?]*)$`)

func parsePatterns(list string) ([]pattern, *fault.Error) {
	var all []pattern
	for item := range strings.SplitSeq(list, ",") {
		p, err := parsePattern(item)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func parsePattern(item string) (p pattern, _ *fault.Error) {
	item, p.not = strings.CutPrefix(item, "!")
	if addr, err := netip.ParseAddr(item); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		p.net = netip.PrefixFrom(addr, addr.BitLen())
		return p, nil
	}
	if net, err := netip.ParsePrefix(item); err == nil {
		if net != net.Masked() {
			return p, fault.Usagef("option from: %s has bits outside of its mask", net).WithHint("did you mean %s?", net.Masked())
		}
		if net.Addr().Is4In6() {
			net = netip.PrefixFrom(net.Addr().Unmap(), net.Bits()-96)
		}
		p.net = net
		return p, nil
	}
	p.glob = strings.ToLower(item)
	if !strings.ContainsAny(item, "*?") || !globForm.MatchString(p.glob) {
		return p, fault.Usagef("option from: %.60q is not an address", item).
			WithHint("items are addresses, networks as in 10.0.0.0/8, and addresses with wildcards as in 10.0.*;\n! before one excludes it; names are not looked up")
	}
	return p, nil
}

// matches reports whether a pattern list admits the address: one item matches
// it, and none that begins with ! does.
func matches(list []pattern, addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	addr = addr.Unmap().WithZone("")
	text := addr.String()
	admitted := false
	for _, p := range list {
		match := p.net.Contains(addr)
		if !p.net.IsValid() {
			match, _ = path.Match(p.glob, text) // globForm has no malformed ones
		}
		if match && p.not {
			return false
		}
		admitted = admitted || match
	}
	return admitted
}

// end is the first moment at which a key is not valid any more: it is for the whole
// second of its expiry-time. Zero: never.
func (o options) end() time.Time {
	if o.expires.IsZero() {
		return time.Time{}
	}
	return time.Unix(o.expires.Unix()+1, 0)
}
