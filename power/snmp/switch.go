// Package snmp works the ports of network switches over SNMP: it gives and
// cuts the power of PoE ports and tells what hangs on which port; of other
// devices it reads and writes integers. It knows no node and no user and
// decides nothing. Its one surprising rule: a request that
// was not answered is no proof of anything, because SNMP answers a wrong
// community with silence and loses packets; so every request is sent several
// times, and what was written is read back.
package snmp

import (
	"cmp"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"walt/fault"
)

// Switch says where a switch is and how it is spoken to. It can be stored as
// JSON, with its secrets; whatever prints it shows none.
type Switch struct {
	Name      string // what faults call it, if not empty
	Kind      string // what it is, "switch" if empty
	Address   string // host or host:port, port 161 if there is none
	Version   Version
	Community string // of versions 1 and 2

	// Of version 3. Without AuthProtocol nothing is signed, without
	// PrivProtocol nothing is encrypted.
	User         string
	AuthProtocol AuthProtocol
	AuthPassword string
	PrivProtocol PrivProtocol // needs an AuthProtocol
	PrivPassword string

	// PoEPorts are outlets that the switch does not tell, or not truly.
	PoEPorts PoEPorts

	// Timeout is how long the first of three tries waits for an answer; each
	// further one waits twice as long. Zero is one second.
	Timeout time.Duration
}

// Version is a version of SNMP. The zero Version is none.
type Version int

const (
	V1 Version = 1
	V2 Version = 2 // with communities, "2c" (RFC 3416)
	V3 Version = 3 // with users (RFC 3414)
)

// AuthProtocol signs messages with a password (RFC 3414, RFC 7860).
type AuthProtocol string

const (
	MD5    AuthProtocol = "MD5"
	SHA    AuthProtocol = "SHA"
	SHA224 AuthProtocol = "SHA-224"
	SHA256 AuthProtocol = "SHA-256"
	SHA384 AuthProtocol = "SHA-384"
	SHA512 AuthProtocol = "SHA-512"
)

// PrivProtocol encrypts messages with a password (RFC 3414, RFC 3826). There
// are two ways to make the longer keys of AES: net-snmp's and that of Cisco,
// which end in -C here.
type PrivProtocol string

const (
	DES     PrivProtocol = "DES"
	AES     PrivProtocol = "AES" // of 128 bits
	AES192  PrivProtocol = "AES-192"
	AES256  PrivProtocol = "AES-256"
	AES192C PrivProtocol = "AES-192-C"
	AES256C PrivProtocol = "AES-256-C"
)

var (
	versions      = []string{"1", "2", "3"}
	authProtocols = []AuthProtocol{MD5, SHA, SHA224, SHA256, SHA384, SHA512}
	privProtocols = []PrivProtocol{DES, AES, AES192, AES256, AES192C, AES256C}
)

// ParseVersion parses "1", "2" or "3"; a fault of kind Usage says so.
func ParseVersion(s string) (Version, error) {
	if !slices.Contains(versions, s) {
		return 0, unknown("SNMP version", s, versions)
	}
	n, err := strconv.Atoi(s)
	return Version(n), err
}

// ParseAuthProtocol parses the name of one, in upper or lower case and with or
// without its dashes; a fault of kind Usage names all of them.
func ParseAuthProtocol(s string) (AuthProtocol, error) {
	return parse("authentication protocol", s, authProtocols)
}

// ParsePrivProtocol parses the name of one, as ParseAuthProtocol does.
func ParsePrivProtocol(s string) (PrivProtocol, error) {
	return parse("privacy protocol", s, privProtocols)
}

func parse[T ~string](noun, s string, known []T) (T, error) {
	plain := func(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "")) }
	names := make([]string, len(known))
	for i, k := range known {
		if plain(string(k)) == plain(s) {
			return k, nil
		}
		names[i] = string(k)
	}
	return "", unknown(noun, s, names)
}

func unknown(noun, s string, known []string) error {
	last := len(known) - 1
	return fault.Usagef("unknown %s %.24q", noun, s).
		WithHint("allowed are %s and %s", strings.Join(known[:last], ", "), known[last])
}

// ParseAddress parses "host" or "host:port" and returns the latter, with SNMP's
// port 161 if there is none. The host may be an IPv6 address, in brackets when
// a port follows. A fault of kind Usage shows what it should look like.
func ParseAddress(s string) (string, error) {
	host, port, err := splitAddress(s)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), nil
}

func splitAddress(s string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		host, service = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), "161"
	}
	number, err := strconv.ParseUint(service, 10, 16)
	if strings.Contains(host, ":") && err == nil {
		_, err = netip.ParseAddr(host)
	}
	if err != nil || number == 0 || host == "" || strings.ContainsAny(host, " \t[]/") {
		return "", 0, fault.Usagef("invalid switch address %.80q", s).WithHint("it looks like 10.0.0.2, sw-1.lab or 10.0.0.2:161")
	}
	return host, uint16(number), nil
}

// String names the switch, without its secrets.
func (sw Switch) String() string {
	if sw.Name == "" {
		return "the " + sw.kind() + " at " + sw.Address
	}
	return sw.kind() + " " + sw.Name + " (" + sw.Address + ")"
}

func (sw Switch) kind() string { return cmp.Or(sw.Kind, "switch") }

// GoString keeps the secrets out of %#v.
func (sw Switch) GoString() string { return sw.String() }

// LogValue keeps the secrets out of logs, whatever their format.
func (sw Switch) LogValue() slog.Value { return slog.StringValue(sw.String()) }

// check returns a fault that says what is missing to be let in.
func (sw Switch) check() error {
	switch sw.Version {
	case V1, V2:
		if sw.Community == "" || len(sw.Community) > 127 {
			return fault.Failedf("%s needs an SNMP community of 1 to 127 characters", sw).
				WithHint("set snmp.community in the same command or before (see: help show power)")
		}
		return nil
	case V3:
		return sw.checkUser()
	default:
		return fault.Failedf("%s needs an SNMP version", sw).WithHint("allowed are 1, 2 and 3")
	}
}

func (sw Switch) checkUser() error {
	for _, wrong := range []struct {
		is  bool
		msg string
	}{
		{sw.User == "" || len(sw.User) > 32, "needs an SNMP user of 1 to 32 characters"}, // RFC 3414, section 2.4
		{sw.AuthProtocol != "" && !slices.Contains(authProtocols, sw.AuthProtocol), "has an unknown authentication protocol"},
		{sw.PrivProtocol != "" && !slices.Contains(privProtocols, sw.PrivProtocol), "has an unknown privacy protocol"},
		{(sw.AuthProtocol == "") != (sw.AuthPassword == ""), "needs an authentication protocol and its password, or neither"},
		{(sw.PrivProtocol == "") != (sw.PrivPassword == ""), "needs a privacy protocol and its password, or neither"},
		{sw.PrivProtocol != "" && sw.AuthProtocol == "", "needs an authentication protocol besides its privacy protocol"},
	} {
		if wrong.is {
			return fault.Failedf("%s %s", sw, wrong.msg).
				WithHint("set what is missing in the same command; snmp.auth-protocol=none and\nsnmp.priv-protocol=none do without, and forget the passwords (see: help show power)")
		}
	}
	return nil
}
