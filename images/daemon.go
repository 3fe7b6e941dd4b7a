package images

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	moby "github.com/moby/moby/client"

	"walt/fault"
	"walt/state"
)

// packing is how many times as long as for an answer a daemon is waited for
// when it packs an image: it is silent meanwhile.
const packing = 10

// daemon is a docker daemon, or what answers like one, as podman's service does.
type daemon struct {
	host  string
	stall time.Duration
	ask   dialogue
	pack  dialogue // the same with more patience
}

type dialogue struct {
	*moby.Client
	wire *wire
}

func newDaemon(host string, stall time.Duration) (*daemon, error) {
	d := &daemon{host: host, stall: stall}
	var err error
	if d.ask, err = newDialogue(host, stall); err == nil {
		d.pack, err = newDialogue(host, packing*stall)
	}
	if err != nil {
		return nil, fault.Failedf("the address %q of the docker daemon is invalid", host).
			WithHint("an address is unix:///PATH or tcp://HOST:PORT; \"\" is none")
	}
	return d, nil
}

func newDialogue(host string, stall time.Duration) (dialogue, error) {
	u, err := url.Parse(host)
	if err != nil {
		return dialogue{}, err
	}
	scheme, network, addr := "http", "tcp", u.Host
	switch u.Scheme {
	case "unix":
		network, addr = "unix", u.Path
	case "https":
		scheme = "https"
	case "tcp", "http":
	default:
		return dialogue{}, errors.ErrUnsupported
	}
	w := newWire(scheme, addr, nil, stall)
	w.next.Proxy = nil
	w.next.DialContext = func(ctx context.Context, _, target string) (net.Conn, error) {
		if network == "unix" {
			target = addr
		}
		c, err := (&net.Dialer{Timeout: min(connectLimit, stall)}).DialContext(ctx, network, target)
		return c, absence(err)
	}
	client, err := moby.New(moby.WithHost(network+"://"+addr), moby.WithHTTPClient(&http.Client{Transport: w}))
	return dialogue{client, w}, err
}

var (
	// errAbsent says that nobody listens at the address of the docker daemon.
	errAbsent = errors.New("nobody listens")
	// errDenied says that the server may not use the socket of the docker daemon.
	errDenied = errors.New("no right to connect")
)

// absence replaces the errors that the client would hide.
func absence(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return errAbsent
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return errDenied
	}
	return err
}

func (d *daemon) String() string { return fmt.Sprintf("the docker daemon (%s)", d.host) }
func (d *daemon) name() string   { return Docker }

func (d *daemon) close() {
	d.ask.wire.next.CloseIdleConnections()
	d.pack.wire.next.CloseIdleConnections()
}

// inspect asks for an image; what is found may have no models.
func (d *daemon) inspect(ctx context.Context, ref Ref) (moby.ImageInspectResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.stall, errStalled)
	defer cancel()
	is, err := d.ask.ImageInspect(ctx, ref.Full())
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return is, err
}

func (d *daemon) look(ctx context.Context, l *Library, ref Ref) (Image, error) {
	is, err := d.inspect(ctx, ref)
	if err != nil {
		return Image{}, err
	}
	image, err := labelled(d, ref, labels(is))
	if err != nil {
		return Image{}, err
	}
	image.Digest, image.Size = is.ID, is.Size
	if image.Created, err = time.Parse(time.RFC3339Nano, is.Created); err != nil {
		return Image{}, unusable(d, "has a date of creation that is not valid")
	}
	if m, ok, err := l.known(ctx, is.ID); err != nil {
		return Image{}, err
	} else if ok {
		image.Digest = m.self.Digest.String()
	}
	return image, nil
}

func labels(is moby.ImageInspectResult) map[string]string {
	if is.Config == nil {
		return nil
	}
	return is.Config.Labels
}

// fetch has the daemon pack the image, unless it is here already.
func (d *daemon) fetch(ctx context.Context, l *Library, ref Ref, report func(Progress)) (_ Image, found bool, _ error) {
	is, err := d.inspect(ctx, ref)
	if err != nil {
		return Image{}, false, err
	}
	if _, err := labelled(d, ref, labels(is)); err != nil {
		return Image{}, true, err // before all of it is packed
	}
	m, ok, err := l.known(ctx, is.ID)
	if err != nil {
		return Image{}, true, err
	}
	t := newTally(report, nil)
	if !ok {
		all := v1.Descriptor{Size: is.Size}
		t = newTally(report, []v1.Descriptor{all})
		m, err = l.saves.watch(ctx, d.host+" "+is.ID, func(n int64) { t.at(all, min(n, is.Size)) },
			func(ctx context.Context, n *atomic.Int64) (manifest, error) { return d.save(ctx, l, is, n) })
		if err != nil {
			return Image{}, true, err
		}
	}
	defer l.hold(m.blobs())()
	config, err := os.ReadFile(l.content.blob(m.Config.Digest))
	if err != nil {
		return Image{}, true, err
	}
	image, err := describe(d, ref, m, config)
	if err == nil {
		err = l.complete(ctx, d, m)
	}
	if err != nil {
		return Image{}, true, err
	}
	t.end()
	return image, true, nil
}

// known returns the manifest of an image of the records whose ID the docker
// daemon gives: that is the digest of its config or, since version 25, may be
// that of its manifest.
func (l *Library) known(ctx context.Context, id string) (m manifest, ok bool, err error) {
	var all []Image
	err = l.store.View(ctx, func(r state.Reader) (err error) {
		all, err = All(r)
		return err
	})
	if err != nil {
		return manifest{}, false, err
	}
	seen := map[string]bool{}
	for _, i := range all {
		h, err := v1.NewHash(i.Digest)
		if err != nil || seen[i.Digest] {
			continue
		}
		seen[i.Digest] = true
		m, err := l.content.manifest(h)
		if err == nil && (m.Config.Digest.String() == id || i.Digest == id) && len(l.content.missing(m.blobs())) == 0 {
			return m, true, nil
		}
	}
	return manifest{}, false, nil
}

// save has the daemon pack an image and keeps what is in the package.
func (d *daemon) save(ctx context.Context, l *Library, is moby.ImageInspectResult, n *atomic.Int64) (manifest, error) {
	if err := l.content.room(is.Size); err != nil {
		return manifest{}, err
	}
	body, err := d.pack.ImageSave(ctx, []string{is.ID})
	if err != nil {
		return manifest{}, err
	}
	defer body.Close()
	return l.keepPack(ctx, d, counted{body, n})
}

func (d *daemon) search(ctx context.Context, w word, found func(Found)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.stall, errStalled)
	defer cancel()
	list, err := d.ask.ImageList(ctx, moby.ImageListOptions{Filters: moby.Filters{}.Add("label", modelsLabel)})
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	for _, i := range list.Items {
		for _, tag := range i.RepoTags {
			link, ok := daemonLink(tag)
			if !ok || !w.inPath(link.path()) || !w.inTag(link.Ref.Tag) {
				continue
			}
			image, err := labelled(d, link.Ref, i.Labels)
			if err == nil {
				found(Found{link, image.Models, i.Size, time.Unix(i.Created, 0).UTC(), i.ID})
			}
		}
	}
	return nil
}

// explain puts an error of the docker daemon into words, or returns false for
// one that is no business of users.
func (d *daemon) explain(err error) (trouble, bool) {
	switch {
	case errdefs.IsNotFound(err):
		return trouble{d.String() + " does not have it", ""}, true
	case errors.Is(err, errAbsent):
		return trouble{d.String() + " does not run", "an administrator can start it, or name another in [docker] of the configuration"}, true
	case errors.Is(err, errDenied):
		return trouble{d.String() + " may not be used by this server", "an administrator can give the user of the server the right to: usermod -aG docker USER"}, true
	}
	if t, ok := explain(d, err); ok {
		return t, true
	}
	if moby.IsErrConnectionFailed(err) {
		return trouble{d.String() + " cannot be reached: " + unreachable(err), "check that it runs, and its address in the configuration"}, true
	}
	return trouble{}, false
}
