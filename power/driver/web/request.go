package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"walt/fault"
)

// request is one that is sent to a device: METHOD URL [BODY], where {host}, {port}, {user}
// and {password} stand for what they say.
type request struct{ method, url, body string }

var (
	methodForm = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE)$`)
	headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

// parseRequest reads one; key is what faults call it.
func parseRequest(key, text string) (request, error) {
	bad := fault.Failedf("%s: %.80q is no request", key, text).
		WithHint("want METHOD URL, and a body after that if it has one, as in: GET http://{host}/relay/{port}?turn=on")
	method, rest, _ := strings.Cut(text, " ")
	at, body, _ := strings.Cut(strings.TrimSpace(rest), " ")
	r := request{method, at, strings.TrimSpace(body)}
	if !methodForm.MatchString(method) {
		return r, bad
	}
	if err := checkPlaces(key, text, "{host}", "{port}", "{user}", "{password}"); err != nil {
		return r, err
	}
	u, err := url.Parse(r.fill(values{host: "host", port: "1"}).url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return r, bad
	}
	if host := r.host(); host != "{host}" && strings.Contains(host, "{") {
		return r, fault.Failedf("%s: %.80s is no host; want one, or {host}, which outlets name, as in power=plugs@10.9.2.4:0", key, host)
	}
	return r, nil
}

// hostForm is what a URL begins with: its host is known to who keeps nodes from it.
var hostForm = regexp.MustCompile(`^\w+://(\[[^]]*\]|[^:/?#]*)`)

// host is that of the URL, without a port, or "{host}".
func (r request) host() string {
	if found := hostForm.FindStringSubmatch(r.url); found != nil {
		return strings.Trim(found[1], "[]")
	}
	return ""
}

// placeForm is what looks like a place: JSON has nothing of the kind.
var placeForm = regexp.MustCompile(`\{[A-Za-z_]+\}`)

// checkPlaces returns a fault for a place that nothing stands for.
func checkPlaces(key, text string, places ...string) error {
	for _, place := range placeForm.FindAllString(text, -1) {
		if !slices.Contains(places, place) {
			return fault.Failedf("%s: %.80s stands for nothing here; what does is %s", key, place, strings.Join(places, ", "))
		}
	}
	return nil
}

// values are what stands in the places of a request.
type values struct{ host, port, user, password string }

// in replaces the places of s, each value written as escape does.
func (v values) in(s string, escape func(string) string) string {
	host := v.host
	if strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return strings.NewReplacer("{host}", host, "{port}", v.port,
		"{user}", escape(v.user), "{password}", escape(v.password)).Replace(s)
}

func (r request) fill(v values) request {
	escape := url.QueryEscape
	if r.isJSON() {
		escape = inJSON
	}
	at := v
	at.host = strings.Replace(v.host, "%", "%25", 1) // the zone of an address, RFC 6874
	return request{r.method, at.in(r.url, url.QueryEscape), v.in(r.body, escape)}
}

func (r request) isJSON() bool {
	return strings.HasPrefix(r.body, "{") || strings.HasPrefix(r.body, "[")
}

// inJSON is s as it is between the quotes of JSON.
func inJSON(s string) string {
	text, err := json.Marshal(s)
	if err != nil { // strings have no such error
		return ""
	}
	return string(text[1 : len(text)-1])
}

// kind is the type of the body's content.
func (r request) kind() string {
	switch {
	case r.body == "":
		return ""
	case r.isJSON():
		return "application/json"
	}
	return "application/x-www-form-urlencoded"
}

// header is one that every request has.
type header struct{ name, value string }

// parseHeaders reads lines of the form NAME: VALUE.
func parseHeaders(lines []string) ([]header, error) {
	var all []header
	for _, line := range lines {
		if err := checkPlaces("headers", line, "{user}", "{password}"); err != nil {
			return nil, err
		}
		name, value, found := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !found || !headerForm.MatchString(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fault.Failedf("headers: %.80q is no header; want NAME: VALUE", line)
		}
		if name = http.CanonicalHeaderKey(name); name == "Host" || name == "Content-Length" {
			return nil, fault.Failedf("headers: %s is set by the server", name)
		}
		all = append(all, header{name, value})
	}
	return all, nil
}

// pattern is a regular expression in which {port} stands for the port.
type pattern string

// parsePattern checks one; key is what faults call it.
func parsePattern(key, text string) (pattern, error) {
	p := pattern(text)
	if err := checkPlaces(key, text, "{port}"); err != nil {
		return "", err
	}
	if _, err := p.of("1"); err != nil {
		return "", fault.Failedf("%s: %.80q is no regular expression: %v", key, text, err)
	}
	return p, nil
}

func (p pattern) of(port string) (*regexp.Regexp, error) {
	return regexp.Compile(strings.ReplaceAll(string(p), "{port}", regexp.QuoteMeta(port)))
}

// fits reports whether it fits the answer about a port. There may be ports of which it makes
// no sense, as words in the place of numbers: that fits nothing.
func (p pattern) fits(port string, answer []byte) bool {
	re, err := p.of(port)
	return err == nil && re.Match(answer)
}
