package source

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// fakeDaemon has one image, which it packs as the function does.
func fakeDaemon(t testing.TB, pack func(w http.ResponseWriter, r *http.Request)) *place {
	t.Helper()
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch {
		case strings.HasSuffix(r.URL.Path, "/images/get"):
			pack(w, r)
		case strings.HasSuffix(r.URL.Path, "/json"):
			io.WriteString(w, `{"Id":"sha256:00","Size":10,"Created":"2024-05-06T07:08:09Z","Config":{"Labels":{"walt.node.models":"x"}}}`)
		}
	}))
	return newDaemonPlace(t, strings.Replace(s.URL, "http://", "tcp://", 1))
}

func TestDaemonThatPacksNonsense(t *testing.T) {
	t.Parallel()
	config := `{"config":{"Labels":{"walt.node.models":"x"}},"rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`
	index := regular("manifest.json", `[{"Config":"c.json","Layers":["a/../l.tar"]}]`)
	for want, content := range map[string][]byte{
		"without a manifest":        archived(t, regular("x", "y")),
		"manifest that is not":      archived(t, regular("manifest.json", "[]")),
		"without its config":        archived(t, regular("l.tar", ""), index),
		"without its layer":         archived(t, regular("c.json", config), index),
		"does not match its digest": archived(t, regular("c.json", config), regular("l.tar", "x"), index),
		"broke the connection":      archived(t, regular("l.tar", strings.Repeat("x", 2000)))[:1000],
		"no link":                   archived(t, symlink("l.tar", "../../../../etc/passwd"), regular("c.json", config), index),
	} {
		l := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) { w.Write(content) })
		_, err := l.fetch(t.Context(), "waltplatform/x-default", nil)
		if want == "no link" {
			want = "without its layer"
		}
		wantError(t, err, "the docker daemon", want)
		if left := leftovers(t, l); len(left) > 0 {
			t.Errorf("%v was left", left)
		}
	}
}

func TestFetchFromDaemonCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(archived(t, regular("l.tar", strings.Repeat("x", 2000)))[:1000])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	if _, err := l.fetch(ctx, "waltplatform/x-default", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

// Who waits for a silent daemon is told soon what for.
func TestSilentDaemonIsNamed(t *testing.T) {
	t.Parallel()
	const host = "tcp://in.memory:80"
	p := newDaemonPlace(t, host)
	synctest.Test(t, func(t *testing.T) {
		d := p.Location.(*Daemon)
		serveInMemory(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, d.client.transport.next, d.saver.transport.next)
		var told notes
		_, err := p.fetch(t.Context(), "bob/os", told.report)
		wantError(t, err, "the docker daemon ("+host+") does not answer")
		if n := told.count("Waiting for the docker daemon (" + host + "): looking the image up."); n != 1 {
			t.Errorf("told %q", told.told())
		}
		err = p.Search(t.Context(), Query{}, func(Image) {}, told.tell)
		wantError(t, err, "the docker daemon ("+host+") does not answer")
		if n := told.count("listing the images."); n != 1 {
			t.Errorf("told %q", told.told())
		}
	})
}
