// Package web switches outlets by HTTP requests that the server's file has: smart plugs, power
// strips, switches with a REST interface. Its one surprising rule: an answer says on, or it says
// off, or it says nothing; whatever else a device sends is not taken for off.
package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"strings"

	"walt/fault"
	"walt/power/driver"
)

// Settings are those of the devices of one driver.
type Settings struct {
	Name string // of the driver, for faults
	Host string // "" where outlets name it
	Profile
	Auth     string // Basic, Digest, Bearer, or "" for none
	User     string
	Password string // that of the user, or the token of Bearer
	TLS      *tls.Config
}

// What Settings.Auth may be.
const (
	Basic  = "basic"
	Digest = "digest"
	Bearer = "bearer"
)

// most is how much of an answer is read, in bytes.
const most = 64 << 10

// Devices are those of one driver.
type Devices struct {
	set             Settings
	on, off, status request
	isOn, isOff     pattern
	headers         []header
	transport       *http.Transport
}

// New returns devices; a fault says which of the settings is wrong.
func New(s Settings) (*Devices, error) {
	d := &Devices{set: s}
	var errs [6]error
	d.on, errs[0] = parseRequest("on", s.On)
	d.off, errs[1] = parseRequest("off", s.Off)
	d.headers, errs[2] = parseHeaders(s.Headers)
	if s.Status != "" {
		d.status, errs[3] = parseRequest("status", s.Status)
		d.isOn, errs[4] = parsePattern("is_on", s.IsOn)
		d.isOff, errs[5] = parsePattern("is_off", s.IsOff)
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	d.transport = &http.Transport{
		TLSClientConfig:        s.TLS,
		DisableKeepAlives:      true, // devices have few connections to give
		DisableCompression:     true,
		MaxResponseHeaderBytes: most,
		DialContext:            (&net.Dialer{}).DialContext,
	}
	return d, nil
}

// Hosts are those that requests name by themselves, without ports.
func (s Settings) Hosts() (all []string) {
	for key, text := range map[string]string{"on": s.On, "off": s.Off, "status": s.Status} {
		r, err := parseRequest(key, text)
		if err != nil { // there is none
			continue
		}
		if host := r.host(); host != "{host}" {
			all = append(all, host)
		}
	}
	return all
}

// Hosted reports whether outlets name the host of their device.
func (s Settings) Hosted() bool { return s.Host == "" && s.have("{host}") }

// Ported says whether outlets name a port.
func (s Settings) Ported() driver.Need {
	if s.have("{port}") {
		return driver.Must
	}
	return driver.Never
}

// have reports whether requests, or their headers, have such a place.
func (s Settings) have(place string) bool {
	return slices.ContainsFunc(append([]string{s.On, s.Off, s.Status}, s.Headers...), func(r string) bool { return strings.Contains(r, place) })
}

func (s Settings) check() error {
	switch told := s.IsOn != "" || s.IsOff != ""; {
	case s.Status == "" && told:
		return fault.Failedf("is_on and is_off are about the answer to status, which is missing")
	case s.Status != "" && (s.IsOn == "" || s.IsOff == ""):
		return fault.Failedf("is_on and is_off must both be set: what is neither is not known to be off")
	case s.IsOn != "" && s.IsOn == s.IsOff:
		return fault.Failedf("is_on and is_off are the same")
	case !slices.Contains([]string{"", Basic, Digest, Bearer}, s.Auth):
		return fault.Failedf("auth: %q is none of %s, %s and %s", s.Auth, Basic, Digest, Bearer)
	case s.Auth != "" && s.Password == "":
		return fault.Failedf("auth = %q needs password_file", s.Auth)
	case (s.Auth == Basic || s.Auth == Digest) && s.User == "":
		return fault.Failedf("auth = %q needs user", s.Auth)
	case s.Auth == "" && s.Password != "" && !s.have("{password}"):
		return fault.Failedf("the password is sent nowhere; set auth to %s, %s or %s, or have {password} in the requests", Basic, Digest, Bearer)
	case strings.ContainsAny(s.User+s.Password, "\r\n\x00"):
		return fault.Failedf("user and password are one line each")
	case s.Auth == Basic && strings.Contains(s.User, ":"):
		return fault.Failedf("the user of auth = %q has no colon", Basic)
	}
	return nil
}

// Status implements driver.Means.
func (d *Devices) Status(ctx context.Context, t driver.Target) (driver.State, error) {
	if d.set.Status == "" {
		return driver.Unknown, driver.ErrNotSupported
	}
	answer, err := d.send(ctx, "status", d.status, t)
	if err != nil {
		return driver.Unknown, err
	}
	switch on, off := d.isOn.fits(t.Port, answer), d.isOff.fits(t.Port, answer); {
	case on && !off:
		return driver.On, nil
	case off && !on:
		return driver.Off, nil
	case on && off:
		return driver.Unknown, driver.Refusal{Err: fault.Failedf("%s sends a state that is both on and off", d.words(t)).
			WithHint("let is_on and is_off of the driver %s in the server's file each fit one state", d.set.Name)}
	}
	return driver.Unknown, fault.Failedf("%s sends a state that is neither on nor off", d.words(t)).
		WithHint("compare what it sends with is_on and is_off of the driver %s in the server's file", d.set.Name)
}

// Switch implements driver.Means.
func (d *Devices) Switch(ctx context.Context, t driver.Target, on bool) error {
	key, r := "off", d.off
	if on {
		key, r = "on", d.on
	}
	_, err := d.send(ctx, key, r, t)
	return err
}

// Close implements driver.Means.
func (d *Devices) Close() error {
	d.transport.CloseIdleConnections()
	return nil
}

// words name an outlet, without any secret.
func (d *Devices) words(t driver.Target) string {
	return driver.Outlet{Driver: d.set.Name, Host: t.Host, Port: t.Port}.String()
}
