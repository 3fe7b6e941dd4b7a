package netboot_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"walt/netboot"
	"walt/netboot/dhcp"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/nodes"
)

// fetching is a machine that fetches what it starts with.
func fetching(m netboot.Machine) netboot.Machine {
	m.Settings.Loader, m.Params = nodes.PXE, "console=ttyS0 quiet"
	return m
}

// script prepares a boot of such a machine, and returns the token and the path of its script.
func (f *fixture) script(m netboot.Machine) (token, path string) {
	f.T.Helper()
	if b, err := f.Prepare(f.T.Context(), m); err != nil || b != (netboot.Boot{}) {
		f.T.Fatalf("it starts with %+v, %v", b, err)
	}
	h, known := f.Host(f.T.Context(), dhcp.Client{MAC: m.MAC})
	token, found := strings.CutPrefix(h.Script, fmt.Sprintf("http://%s:80/ipxe/", m.Server))
	if !known || !found || h.Name != string(m.Name) || h.IP != m.IP || h.Net != m.Net || h.Server != m.Server {
		f.T.Fatalf("%+v, %v", h, known)
	}
	return token, "/ipxe/" + token
}

// request is get with any method, and a range unless that is "".
func (f *fixture) request(m netboot.Machine, method, path, part string) (*http.Response, string) {
	f.T.Helper()
	q, err := http.NewRequestWithContext(f.T.Context(), method, "http://"+f.Ports.At(netboot.PortHTTP)+path, nil)
	if err != nil {
		f.T.Fatal(err)
	}
	if part != "" {
		q.Header.Set("Range", part)
	}
	r, err := (&http.Transport{DialContext: netboottest.From(m).DialContext, DisableKeepAlives: true}).RoundTrip(q)
	if err != nil {
		f.T.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		f.T.Fatal(err)
	}
	return r, string(b)
}

// A machine with nothing but its network card gets what another one begins with.
func TestFetched(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Choose("two", "red")
	direct, _ := f.Prepared(two) // the files are the same
	one := fetching(one)
	token, path := f.script(one)
	want := "#!ipxe\n" +
		"kernel http://127.0.0.1:80/kernel/TOKEN initrd=initrd console=ttyS0 quiet walt.mac=52:54:00:00:00:01 walt.ip=127.0.0.2/24 walt.gw=127.0.0.1 walt.boot=http://127.0.0.1:80/boot/TOKEN\n" +
		"initrd --name initrd http://127.0.0.1:80/initrd/TOKEN\n" +
		"boot\n"
	if got, status := f.get(one, path); status != http.StatusOK || strings.ReplaceAll(string(got), token, "TOKEN") != want {
		t.Errorf("status %d, %s, want %s", status, got, want)
	}
	for part, name := range map[string]string{"kernel": direct.Kernel, "initrd": direct.Initrd} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		whole, path := string(b), "/"+part+"/"+token
		for _, c := range []struct {
			method, part string
			status       int
			body         string
		}{
			{"GET", "", http.StatusOK, whole},
			{"HEAD", "", http.StatusOK, ""},
			{"GET", "bytes=3-9", http.StatusPartialContent, whole[3:10]},
			{"GET", "bytes=100-", http.StatusPartialContent, whole[100:]},
		} {
			if r, body := f.request(one, c.method, path, c.part); r.StatusCode != c.status || body != c.body || c.method == "HEAD" && r.ContentLength != int64(len(whole)) {
				t.Errorf("%s of %s, %q: status %d, %d of %d bytes", c.method, part, c.part, r.StatusCode, len(body), r.ContentLength)
			}
		}
		if r, _ := f.request(one, "GET", path, "bytes=99999999-"); r.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("behind the end of %s: status %d", part, r.StatusCode)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if r, body := f.request(one, "GET", path, ""); r.StatusCode != http.StatusOK || body != whole {
			t.Errorf("%s that was thrown away: status %d, %d bytes", part, r.StatusCode, len(body))
		}
	}
	i, _ := f.Ask(one, token)
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	var steps []string
	for _, s := range f.Steps() {
		if s, is := strings.CutPrefix(s, "one "); is && (len(steps) == 0 || steps[len(steps)-1] != s) {
			steps = append(steps, s)
		}
	}
	if got := strings.Join(steps, ", "); got != "chained, kernel, initramfs, root" {
		t.Errorf("the lab was told of %q", got)
	}
}

// What a machine fetches is for the machine at one address, with the token of this boot,
// until its agent has come; a restart of the server in between does no harm.
func TestFetchedIsSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	direct, one, two := two, fetching(one), fetching(two)
	old, _ := f.script(one)
	token, _ := f.script(one)
	other, _ := f.script(two)
	parts := []string{"/ipxe/", "/kernel/", "/initrd/"}
	refused := func(what string, m netboot.Machine, token string) {
		t.Helper()
		for _, part := range parts {
			if b, status := f.get(m, part+token); status != http.StatusForbidden || len(b) > 100 {
				t.Errorf("%s%s: status %d, %d bytes", what, part, status, len(b))
			}
		}
	}
	served := func(what string) {
		t.Helper()
		for _, part := range parts {
			if b, status := f.get(one, part+token); status != http.StatusOK || len(b) == 0 {
				t.Errorf("%s%s: status %d, %d bytes", what, part, status, len(b))
			}
		}
	}
	restart := func() {
		t.Helper()
		f.Start()
		for _, m := range []netboot.Machine{one, two} {
			if found, err := f.Resume(t.Context(), m); !found || err != nil {
				t.Fatal(found, err)
			}
		}
	}
	served("its own")
	refused("the boot before", one, old)
	refused("another machine's", one, other)
	refused("another machine", two, token)
	refused("none", one, "x")
	for _, part := range parts {
		for _, path := range []string{part, part + token + "/", part + token + "/x", part + token + "/..%2f" + other, part + "..%2f" + token} {
			if r, _ := f.request(one, "GET", path, ""); r.StatusCode < 400 {
				t.Errorf("%s: status %d", path, r.StatusCode)
			}
		}
		if r, _ := f.request(one, "POST", part+token, ""); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("it may write to %s: status %d", part, r.StatusCode)
		}
	}
	restart()
	served("after a restart")
	i, _ := f.Ask(one, token)
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	refused("after the agent came", one, token)
	restart()
	refused("after the agent came, and a restart", one, token)

	_, token = f.Prepared(direct)
	refused("a machine that begins with it", direct, token)
	if h, known := f.Host(t.Context(), dhcp.Client{MAC: direct.MAC}); !known || h.Script != "" || h.IP != direct.IP {
		t.Errorf("DHCP tells it %+v, %v", h, known)
	}
	if err := f.Forget(t.Context(), direct.MAC); err != nil {
		t.Fatal(err)
	}
	if h, known := f.Host(t.Context(), dhcp.Client{MAC: direct.MAC}); known {
		t.Errorf("DHCP tells a machine that is gone %+v", h)
	}
}

// Machines that are not set to either begin as the configuration says.
func TestLoaderOfTheConfiguration(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Choose("one", "red")
	for _, c := range []struct{ all, own, want nodes.Loader }{
		{nodes.AutoLoader, nodes.AutoLoader, nodes.Direct}, // before the configuration was read
		{nodes.Direct, nodes.AutoLoader, nodes.Direct},
		{nodes.Direct, nodes.PXE, nodes.PXE},
		{nodes.PXE, nodes.AutoLoader, nodes.PXE},
		{nodes.PXE, nodes.Direct, nodes.Direct},
	} {
		m := one
		f.SetLoader(c.all)
		m.Settings.Loader = c.own
		b, err := f.Prepare(t.Context(), m)
		if fetches := b == (netboot.Boot{}); err != nil || fetches != (c.want == nodes.PXE) {
			t.Errorf("%+v: it begins with %+v, %v", c, b, err)
		}
	}
}
