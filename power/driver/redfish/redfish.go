// Package redfish switches servers by their BMCs, over Redfish (DMTF DSP0266): it reads the
// power state of a computer system, and resets it. Its one surprising rule: it goes nowhere
// but to the host that it was told, whatever the answers refer to.
package redfish

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"walt/fault"
	"walt/power/driver"
)

// BMCs are those that have the same user.
type BMCs struct {
	Name           string // of the driver
	User, Password string
	System         string      // the name of theirs that is meant, "" for the only one
	TLS            *tls.Config // who is trusted to be one, see driver.Trust
}

// most is how many bytes an answer may have: that of a large system has some 20 KB.
const most = 1 << 20

// Check fails when no BMC can have such a user.
func (b BMCs) Check() error {
	if b.User == "" {
		return fault.Usagef("user: is missing; want that of the BMCs")
	}
	return nil
}

// Means is the BMCs as a driver.Means.
type Means struct {
	BMCs
	http *http.Transport
}

// New returns the means to speak to BMCs, which Check has nothing against.
func New(b BMCs) *Means {
	return &Means{b, &http.Transport{TLSClientConfig: b.TLS, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}}
}

// Close implements driver.Means.
func (b *Means) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// system is what is known of a computer system.
type system struct {
	ID         string `json:"@odata.id"`
	PowerState string
	Actions    struct {
		Reset struct {
			Target    string   `json:"target"`
			Allowable []string `json:"ResetType@Redfish.AllowableValues"`
		} `json:"#ComputerSystem.Reset"`
	}
}

// CheckPort implements driver.Porter.
func (b *Means) CheckPort(port string) error { return driver.CheckBMCPort(port, "443") }

// Status implements driver.Means. The port is that of TCP, 443 when there is none.
func (b *Means) Status(ctx context.Context, t driver.Target) (driver.State, error) {
	s, err := b.system(ctx, t)
	switch {
	case err != nil:
		return driver.Unknown, err
	case s.PowerState == "On":
		return driver.On, nil
	case s.PowerState == "Off":
		return driver.Off, nil
	}
	return driver.Unknown, nil // on its way, or paused
}

// Switch implements driver.Means: off is at once.
func (b *Means) Switch(ctx context.Context, t driver.Target, on bool) error {
	s, err := b.system(ctx, t)
	if err != nil {
		return err
	}
	ways := []string{"ForceOff", "Off"}
	if on {
		ways = []string{"On", "ForceOn"}
	}
	way := ways[0]
	if may := s.Actions.Reset.Allowable; len(may) > 0 {
		at := slices.IndexFunc(ways, func(w string) bool { return slices.Contains(may, w) })
		if at < 0 {
			return driver.Refusal{Err: fault.Failedf("%s allows no reset %s", words(t), strings.Join(ways, " or ")).WithHint("it allows: %s", driver.Clean(strings.Join(may, ", ")))}
		}
		way = ways[at]
	}
	body, err := json.Marshal(map[string]string{"ResetType": way})
	if err != nil {
		return err
	}
	_, err = b.send(ctx, t, http.MethodPost, cmp.Or(s.Actions.Reset.Target, path.Join(s.ID, "Actions/ComputerSystem.Reset")), body)
	return err
}

// system reads the system that is meant.
func (b *Means) system(ctx context.Context, t driver.Target) (s system, err error) {
	at := path.Join("/redfish/v1/Systems", url.PathEscape(b.System))
	if b.System == "" {
		var all struct {
			Members []struct {
				ID string `json:"@odata.id"`
			}
			Next string `json:"Members@odata.nextLink"` // where more of them are
		}
		if err := b.get(ctx, t, at, &all); err != nil {
			return s, err
		}
		if len(all.Members) == 0 && all.Next == "" { // as while the BMC starts
			return s, fault.Failedf("%s has no system", words(t)).WithHint("wait until it has started; else check that it has Redfish")
		}
		if len(all.Members) != 1 || all.Next != "" {
			var names []string
			for _, m := range all.Members {
				names = append(names, path.Base(m.ID))
			}
			many := strconv.Itoa(len(names))
			if all.Next != "" {
				many = "more than " + many
			}
			return s, driver.Refusal{Err: fault.Failedf("%s has %s systems", words(t), many).
				WithHint("set system of the driver %s in the server's file: %s", b.Name, driver.Clean(strings.Join(names[:min(10, len(names))], ", ")))}
		}
		at = all.Members[0].ID
	}
	if err := b.get(ctx, t, at, &s); err != nil {
		return s, err
	}
	s.ID = cmp.Or(s.ID, at)
	return s, nil
}

// get reads what is at a path.
func (b *Means) get(ctx context.Context, t driver.Target, at string, into any) error {
	body, err := b.send(ctx, t, http.MethodGet, at, nil)
	if err == nil && json.Unmarshal(body, into) != nil {
		err = fault.Failedf("%s sent an invalid answer", words(t)).WithHint("check its address: it may be something else that answers")
	}
	return err
}

// hops is how many redirections of one request are followed.
const hops = 3

// send sends a request, and returns the body of an answer that tells of success. BMCs send from
// one path to another, as to the same one with a slash behind it.
func (b *Means) send(ctx context.Context, t driver.Target, method, at string, body []byte) ([]byte, error) {
	for hop := 0; ; hop++ {
		reply, answer, err := b.exchange(ctx, t, method, at, body)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ask %s: %w", words(t), ctx.Err())
		case err != nil:
			return nil, b.unreachable(t, err)
		case reply.StatusCode >= 200 && reply.StatusCode <= 299:
			return answer, nil
		}
		next := reply.Header.Get("Location")
		switch kept := method == http.MethodGet; reply.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound:
			if !kept { // it would become another request
				next = ""
			}
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			next = ""
		}
		if next == "" || hop == hops {
			return nil, b.refused(t, reply.StatusCode, answer)
		}
		at = next
	}
}

// exchange sends a request to the path of a reference, and reads the answer.
func (b *Means) exchange(ctx context.Context, t driver.Target, method, at string, body []byte) (*http.Response, []byte, error) {
	ref, err := url.Parse(at)
	if err != nil {
		return nil, nil, err
	}
	to := url.URL{Scheme: "https", Host: net.JoinHostPort(t.Host, cmp.Or(t.Port, "443"))}
	q, err := http.NewRequestWithContext(ctx, method, to.JoinPath(ref.EscapedPath()).String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	q.SetBasicAuth(b.User, b.Password)
	q.Header.Set("Accept", "application/json")
	q.Header.Set("OData-Version", "4.0")
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	return driver.Exchange(b.http, q, most) // which follows no redirection
}

func words(t driver.Target) string { return "the BMC at " + t.Host }

// unreachable is the fault for a BMC that sent no whole answer.
func (b *Means) unreachable(t driver.Target, err error) error {
	const check = "check its address, and that Redfish is turned on"
	if network := driver.Unreachable(words(t), b.Name, check, err); network != nil {
		return network
	}
	return fault.Failedf("%s does not answer as Redfish does", words(t)).WithHint("%s", check)
}

// refused is the fault for an answer that tells of no success.
func (b *Means) refused(t driver.Target, status int, body []byte) error {
	code := strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return driver.Refusal{Err: fault.Failedf("%s does not let user %s do that (%s)", words(t), b.User, code).
			WithHint("correct the user of the driver %s, or what its password file holds; it needs the privilege ConfigureComponents", b.Name)}
	case driver.Passes(status):
		return fault.Failedf("%s cannot do it now (%s)%s", words(t), code, said(body)).WithHint("its own log may say why")
	}
	return driver.Refusal{Err: fault.Failedf("%s refuses (%s)%s", words(t), code, said(body)).
		WithHint("check that it has Redfish, and the system of the driver %s", b.Name)}
}

// said is what an answer says about itself (DSP0266, error responses), in short; "" when it
// says nothing.
func said(body []byte) string {
	var answer struct {
		Error struct {
			Message string                     `json:"message"`
			Info    []struct{ Message string } `json:"@Message.ExtendedInfo"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	text := answer.Error.Message
	if len(answer.Error.Info) > 0 {
		text = cmp.Or(answer.Error.Info[0].Message, text)
	}
	if text == "" {
		return ""
	}
	return fmt.Sprintf(": %.200q", text)
}
