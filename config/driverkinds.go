package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"walt/fault"
	"walt/power/driver"
	"walt/power/driver/ipmi"
	"walt/power/driver/pdu"
	"walt/power/driver/redfish"
	"walt/power/driver/web"
	"walt/power/snmp"
)

// pdus checks a driver of kind snmp, and says how its devices are spoken to.
func (k *checker) pdus(key string, d *Driver) {
	before := len(k.problems)
	k.host(key+"host", d.Host)
	if d.Profile != "" {
		p, err := pdu.ParseProfile(d.Profile)
		if err != nil {
			k.wrong(key+"profile", "%s", fault.Reason(err))
		}
		d.PDU = p
	}
	p := &d.PDU
	override(&p.OID, d.OID)
	override(&p.OffOID, d.OffOID)
	override(&p.StatusOID, d.StatusOID)
	override(&p.StatusOn, d.StatusOn)
	override(&p.StatusOff, d.StatusOff)
	for _, v := range []struct {
		key  string
		says any
		to   *int
	}{{"on", d.On, &p.On}, {"off", d.Off, &p.Off}} {
		switch n, is := v.says.(int64); {
		case is:
			*v.to = int(n)
		case v.says != nil:
			k.wrong(key+v.key, "%q is no number; want the one that switches an outlet, as in 1", fmt.Sprint(v.says))
		case d.OID != "" && d.Profile == "":
			k.wrong(key+v.key, "is missing; want the number that switches an outlet %s", v.key)
		}
	}

	d.SNMP = snmp.Switch{Name: d.Name, Address: d.Host, Version: snmp.V1, Community: "private", User: d.User}
	if d.Version != 0 {
		d.SNMP.Version = snmp.Version(d.Version)
	}
	if d.CommunityFile != "" {
		d.SNMP.Community = k.secret(key+"community_file", &d.CommunityFile)
	}
	if d.AuthProtocol != "" {
		d.SNMP.AuthProtocol = parsed(k, key+"auth_protocol", d.AuthProtocol, snmp.ParseAuthProtocol)
	}
	if d.PrivProtocol != "" {
		d.SNMP.PrivProtocol = parsed(k, key+"priv_protocol", d.PrivProtocol, snmp.ParsePrivProtocol)
	}
	d.SNMP.AuthPassword = k.secret(key+"password_file", &d.PasswordFile)
	d.SNMP.PrivPassword = k.secret(key+"priv_password_file", &d.PrivPasswordFile)
	if d.SNMP.Version < snmp.V1 || d.SNMP.Version > snmp.V3 {
		k.wrong(key+"version", "%d is no version of SNMP; want 1, 2 or 3", d.SNMP.Version)
	} else if d.SNMP.Version != snmp.V3 {
		if d.User != "" || d.PasswordFile != "" || d.PrivPasswordFile != "" || d.AuthProtocol != "" || d.PrivProtocol != "" {
			k.wrong(key+"version", "%d has no users; want 3", d.SNMP.Version)
		}
	} else {
		k.snmpUser(key, d)
	}
	if len(k.problems) == before {
		_, err := pdu.New(d.SNMP, d.PDU)
		k.setting(key, err)
	}
}

// snmpUser checks what a driver of kind snmp says of the user whom version 3 wants.
func (k *checker) snmpUser(key string, d *Driver) {
	if d.CommunityFile != "" {
		k.wrong(key+"community_file", "version 3 has no communities; want user, and as the device has them auth_protocol and the rest")
	}
	if d.User == "" || len(d.User) > 32 {
		k.wrong(key+"user", "%q is no user of SNMP; version 3 wants one, of 1 to 32 characters", d.User)
	}
	for _, pair := range [][4]string{
		{"auth_protocol", d.AuthProtocol, "password_file", d.PasswordFile},
		{"priv_protocol", d.PrivProtocol, "priv_password_file", d.PrivPasswordFile},
		{"priv_protocol", d.PrivProtocol, "auth_protocol", d.AuthProtocol},
	} {
		switch protocol, other := pair[1], pair[3]; {
		case protocol != "" && other == "":
			k.wrong(key+pair[2], "is missing; %s needs it", pair[0])
		case protocol == "" && other != "" && strings.HasSuffix(pair[2], "password_file"):
			k.wrong(key+pair[0], "is missing; %s is for it", pair[2])
		}
	}
}

// devices checks a driver of kind http, and says how its devices are spoken to.
func (k *checker) devices(key string, d *Driver) {
	before := len(k.problems)
	k.host(key+"host", d.Host)
	s := web.Settings{Name: d.Name, Host: d.Host, Auth: d.Auth, User: d.User}
	if d.Profile != "" {
		p, err := web.ParseProfile(d.Profile)
		if err != nil {
			k.wrong(key+"profile", "%s", fault.Reason(err))
		}
		s.Profile = p
	}
	for _, v := range []struct {
		key  string
		says any
		to   *string
	}{{"on", d.On, &s.On}, {"off", d.Off, &s.Off}} {
		if request, is := v.says.(string); is {
			*v.to = request
		} else if v.says != nil {
			k.wrong(key+v.key, "%v is no request; want METHOD URL in quotes, and a body after that if it has one", v.says)
		}
	}
	override(&s.Status, d.Status)
	override(&s.IsOn, d.IsOn)
	override(&s.IsOff, d.IsOff)
	if d.Headers != nil {
		s.Headers = d.Headers
	}
	s.Password = k.secret(key+"password_file", &d.PasswordFile)
	s.TLS = k.trust(key, d)
	d.HTTP = s
	if len(k.problems) == before {
		_, err := web.New(s)
		k.setting(key, err)
	}
}

// trust is how devices are known that show certificates.
func (k *checker) trust(key string, d *Driver) *tls.Config {
	var ca *x509.CertPool
	var fingerprint driver.Fingerprint
	var err error
	if d.CAFile != "" {
		d.CAFile = k.path(d.CAFile)
		if ca, err = readCA(d.CAFile); err != nil {
			k.wrong(key+"ca_file", "%v", err)
		}
	}
	if d.Fingerprint != "" {
		fingerprint = parsed(k, key+"tls_fingerprint", d.Fingerprint, driver.ParseFingerprint)
	}
	if d.CAFile != "" && d.Fingerprint != "" {
		k.wrong(key+"ca_file", "and tls_fingerprint are two ways to know a device; give one of them")
	}
	return driver.Trust(ca, fingerprint)
}

// bmcs checks a driver of kind ipmi.
func (k *checker) bmcs(key string, d *Driver) {
	d.IPMI = ipmi.BMCs{User: d.User, Password: k.secret(key+"password_file", &d.PasswordFile)}
	k.setting(key, d.IPMI.Check())
}

// redfish checks a driver of kind redfish.
func (k *checker) redfish(key string, d *Driver) {
	d.Redfish = redfish.BMCs{
		Name: d.Name, User: d.User, Password: k.secret(key+"password_file", &d.PasswordFile),
		System: d.System, TLS: k.trust(key, d),
	}
	k.setting(key, d.Redfish.Check())
}

// override has what the file says go before what a profile does.
func override[T comparable](to *T, says T) {
	var nothing T
	if says != nothing {
		*to = says
	}
}

// host checks HOST or HOST:PORT of a device.
func (k *checker) host(key, host string) {
	if host == "" {
		return
	}
	if _, err := snmp.ParseAddress(host); err != nil {
		k.wrong(key, `%q is not the address of a device; want "10.9.0.2", "pdu-1.lab" or "10.9.0.2:8080"`, host)
	}
}

// secret returns what a file holds, "" for no file.
func (k *checker) secret(key string, path *string) string {
	if *path == "" {
		return ""
	}
	*path = k.path(*path)
	secret, err := readPassword(*path)
	if err != nil {
		k.wrong(key, "%v", err)
	}
	return secret
}

// parsed returns what parse makes of a value.
func parsed[T any](k *checker, key, value string, parse func(string) (T, error)) T {
	v, err := parse(value)
	if f := fault.As(err); f != nil {
		k.wrong(key, "%s; %s", f.Msg, f.Hint)
	}
	return v
}

// setting tells of what is wrong with the settings of a driver, whose message begins with
// the key that it is about, if it is about one.
func (k *checker) setting(key string, err error) {
	if err == nil {
		return
	}
	what := fault.Line(err)
	if name, rest, found := strings.Cut(what, ": "); found && !strings.Contains(name, " ") {
		key, what = key+name, rest
	} else {
		key += "kind"
	}
	k.wrong(key, "%s", what)
}
