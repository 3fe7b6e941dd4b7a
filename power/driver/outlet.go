package driver

import (
	"cmp"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"walt/fault"
)

// Outlet is what gives power: DRIVER:PORT, DRIVER@HOST or DRIVER@HOST:PORT, where the
// driver is one of the server's file.
type Outlet struct {
	Driver string
	Host   string // of its device, "" where the driver has one itself, or none; IPv6 without brackets
	Port   string // letters, digits, . _ : -; "" of a device that has one outlet alone
}

var (
	driverForm = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)
	hostForm   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\.?$`)
	hostForm6  = regexp.MustCompile(`^[0-9a-fA-F:.]{2,45}(%[A-Za-z0-9._-]{1,15})?$`)
	numberForm = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)
	portForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$`)
)

// IsName reports whether a driver may be called so.
func IsName(s string) bool { return driverForm.MatchString(s) }

// IsReserved reports whether a name of a driver means something else where the power of a node
// is told.
func IsReserved(s string) bool { return s == "poe" || s == "none" || s == "wol" }

// ParseOutlet parses what String writes.
func ParseOutlet(s string) (o Outlet, err error) {
	bad := fault.Usagef("%q is no outlet; want DRIVER:PORT, DRIVER@HOST or DRIVER@HOST:PORT", s).
		WithHint("several are joined by +, without blanks (see: help show power)")
	if strings.Contains(s, "::") && !strings.Contains(s, "[") {
		bad = bad.WithHint("an address of IPv6 stands in brackets, as in bmc@[fd00::2]")
	}
	rest, hosted := "", false
	if o.Driver, rest, hosted = strings.Cut(s, "@"); !hosted {
		if o.Driver, o.Port, hosted = strings.Cut(s, ":"); hosted && o.Port == "" {
			return Outlet{}, bad
		}
	} else {
		port, ported := "", false
		if inner, is6 := strings.CutPrefix(rest, "["); is6 {
			if o.Host, port, is6 = strings.Cut(inner, "]"); !is6 || !hostForm6.MatchString(o.Host) {
				return Outlet{}, bad
			}
			if port, ported = strings.CutPrefix(port, ":"); !ported && port != "" {
				return Outlet{}, bad
			}
		} else if o.Host, port, ported = strings.Cut(rest, ":"); !hostForm.MatchString(o.Host) {
			return Outlet{}, bad
		}
		if o.Port = port; ported && port == "" {
			return Outlet{}, bad
		}
	}
	o.Host = Host(o.Host)
	if small := strings.ToLower(o.Driver); small != o.Driver && IsName(small) {
		return Outlet{}, bad.WithHint("did you mean %s? Names of drivers have small letters", small+strings.TrimPrefix(s, o.Driver))
	}
	if !IsName(o.Driver) || o.Port != "" && !portForm.MatchString(o.Port) {
		return Outlet{}, bad
	}
	return o, nil
}

// Host is how a host is written that people write in several ways: an address in its shortest
// form, a name in small letters, without the dot that ends a full one.
func Host(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

// isNoHost reports whether something that looks like an address is none: as a name nobody has it.
func isNoHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	last := host[strings.LastIndex(host, ".")+1:]
	return strings.Contains(host, ":") || numberForm.MatchString(last)
}

// number is how a number is written, or several with dots between; anything else is as it is.
func number(s string) string {
	if !numberForm.MatchString(s) {
		return s
	}
	parts := strings.Split(s, ".")
	for i, part := range parts {
		parts[i] = cmp.Or(strings.TrimLeft(part, "0"), "0")
	}
	return strings.Join(parts, ".")
}

// CheckBMCPort is Porter.CheckPort of BMCs, whose port is one of their host: usual where none is
// named.
func CheckBMCPort(port, usual string) error {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || number(port) == "0" {
		return fault.Usagef("a BMC has no port %q", port).WithHint("its port is a number up to 65535, and %s where none is named", usual)
	}
	return nil
}

func (o Outlet) String() string {
	s := o.Driver
	switch {
	case strings.Contains(o.Host, ":"):
		s += "@[" + o.Host + "]"
	case o.Host != "":
		s += "@" + o.Host
	}
	if o.Port != "" {
		s += ":" + o.Port
	}
	return s
}

// MarshalText is String, so that rows tell outlets as people write them.
func (o Outlet) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is ParseOutlet.
func (o *Outlet) UnmarshalText(text []byte) (err error) {
	*o, err = ParseOutlet(string(text))
	return err
}

// device is what answers one request at a time.
func (o Outlet) device() Outlet { return Outlet{Driver: o.Driver, Host: o.Host} }

// Supply is the outlets that feed one node: it has power while one of them gives it.
type Supply []Outlet

// maxOutlets is how many supplies a machine may have.
const maxOutlets = 8

// ParseSupply parses outlets with + between.
func ParseSupply(s string) (Supply, error) {
	var all Supply
	for part := range strings.SplitSeq(s, "+") {
		o, err := ParseOutlet(part)
		if err != nil {
			return nil, err
		}
		if IsReserved(o.Driver) && o.Host == "" && o.Port == "" {
			return nil, fault.Usagef("%s is no outlet of a driver, and is joined with no other", o.Driver).
				WithHint("outlets are written as DRIVER:PORT, DRIVER@HOST or DRIVER@HOST:PORT (see: help show power)")
		}
		for _, before := range all {
			if before == o {
				return nil, fault.Usagef("%q names the outlet %s twice", s, o).WithHint("name each outlet once")
			}
		}
		if all = append(all, o); len(all) > maxOutlets {
			return nil, fault.Usagef("%q are more than %d outlets", s, maxOutlets).WithHint("name those that feed this node alone")
		}
	}
	return all, nil
}

func (s Supply) String() string {
	words := make([]string, len(s))
	for i, o := range s {
		words[i] = o.String()
	}
	return strings.Join(words, "+")
}
