package web

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// challenge is one of those in WWW-Authenticate: a scheme and its parameters, both in
// small letters (RFC 7235, section 2.1).
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads the values of WWW-Authenticate, each of which may have several.
// What does not fit the form is left out.
func parseChallenges(values []string) []challenge {
	var all []challenge
	for _, value := range values {
		for value != "" {
			var name, text string
			name, value = token(strings.TrimLeft(value, " \t,"))
			rest := strings.TrimLeft(value, " \t")
			switch {
			case name == "":
				value = "" // no header that this knows how to read on
			case strings.HasPrefix(rest, "=") && len(all) > 0:
				text, value = word(strings.TrimLeft(rest[1:], " \t"))
				all[len(all)-1].params[strings.ToLower(name)] = text
			case !strings.HasPrefix(rest, "="):
				all = append(all, challenge{strings.ToLower(name), map[string]string{}})
			default:
				value = ""
			}
		}
	}
	return all
}

// token splits off the characters of a token.
func token(s string) (name, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return strings.ContainsRune(" \t,=\"", r) })
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// word splits off a token or what is between quotes.
func word(s string) (text, rest string) {
	if !strings.HasPrefix(s, `"`) {
		return token(s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return b.String(), ""
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// algorithms are those that answers to challenges are made with, the best first.
var algorithms = []struct {
	name string
	hash func() hash.Hash
}{{"SHA-256", sha256.New}, {"MD5", md5.New}}

// digest is what Authorization says to the best of the challenges (RFC 7616, with the
// quality of protection "auth", and without one as in RFC 2069); false if it has no answer.
func digest(all []challenge, user, password, method, uri string) (string, bool) {
	for _, algorithm := range algorithms {
		for _, c := range all {
			named := c.params["algorithm"]
			if named == "" {
				named = "MD5"
			}
			if c.scheme != "digest" || !strings.EqualFold(named, algorithm.name) {
				continue
			}
			qop, can := c.protection()
			if !can {
				continue
			}
			return c.answer(algorithm.hash, qop, rand.Text(), user, password, method, uri), true
		}
	}
	return "", false
}

// isStale reports whether a challenge is one since the one before was too old when its answer
// came: that tells nothing of the password (RFC 7616, section 3.3).
func isStale(all []challenge) bool {
	return slices.ContainsFunc(all, func(c challenge) bool {
		return c.scheme == "digest" && strings.EqualFold(c.params["stale"], "true")
	})
}

// protection is the quality of protection that is used; "" of a server that knows none.
func (c challenge) protection() (qop string, can bool) {
	offered, has := c.params["qop"]
	if !has {
		return "", true
	}
	for one := range strings.SplitSeq(offered, ",") {
		if strings.EqualFold(strings.TrimSpace(one), "auth") {
			return "auth", true
		}
	}
	return "", false
}

// answer proves to know the password (RFC 7616, section 3.4). A nonce is used once.
func (c challenge) answer(algorithm func() hash.Hash, qop, client, user, password, method, uri string) string {
	sum := func(parts ...string) string {
		h := algorithm()
		h.Write([]byte(strings.Join(parts, ":")))
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	const count = "00000001"
	realm, nonce := c.params["realm"], c.params["nonce"]
	who, what := sum(user, realm, password), sum(method, uri)
	response := sum(who, nonce, what)
	if qop != "" {
		response = sum(who, nonce, count, client, qop, what)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username=%s, realm=%s, nonce=%s, uri=%s, response="%s"`, quoted(user), quoted(realm), quoted(nonce), quoted(uri), response)
	if named := c.params["algorithm"]; named != "" {
		b.WriteString(", algorithm=" + named)
	}
	if opaque, has := c.params["opaque"]; has {
		b.WriteString(", opaque=" + quoted(opaque))
	}
	if qop != "" {
		fmt.Fprintf(&b, `, qop=%s, nc=%s, cnonce=%s`, qop, count, quoted(client))
	}
	return b.String()
}

// quoted is a quoted-string (RFC 7230, section 3.2.6).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
