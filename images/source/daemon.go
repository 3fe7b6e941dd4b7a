package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	moby "github.com/moby/moby/client"

	"walt/fault"
	"walt/images/content"
	"walt/images/flight"
)

// Docker is the name of the docker daemon of this server.
const Docker = "docker"

// saveFactor is how many times as long as for another answer a daemon may stay
// silent when it is to save an image: it packs it meanwhile.
const saveFactor = 10

// StoredManifest returns the manifest of an image that is in the store whole and that
// docker daemons give the ID: the digest of its config or, since version 25, of
// its manifest.
type StoredManifest func(ctx context.Context, id string) (m content.Manifest, ok bool, err error)

// Daemon is a docker daemon, or what answers like one, as podman's service does.
type Daemon struct {
	host   string
	stall  time.Duration
	client daemonClient
	saver  daemonClient // the same with more patience

	store *content.Store
	known StoredManifest
	saves flight.Group[content.Manifest] // by ID of an image
}

type daemonClient struct {
	*moby.Client
	transport *stallTransport
}

// NewDaemon prepares the daemon at an address as in DOCKER_HOST, without talking
// to it. Content goes to the store, without what is known; a daemon that stays
// silent for stall is given up. An address that makes no sense is a fault.
func NewDaemon(host string, store *content.Store, known StoredManifest, stall time.Duration) (*Daemon, error) {
	d := &Daemon{host: host, stall: stall, store: store, known: known}
	var err error
	if d.client, err = newDaemonClient(host, stall); err == nil {
		d.saver, err = newDaemonClient(host, saveFactor*stall)
	}
	if err != nil {
		return nil, fault.Failedf("the address %q of the docker daemon is invalid", host).
			WithHint("an address is unix:///PATH or tcp://HOST:PORT; \"\" is none")
	}
	return d, nil
}

func newDaemonClient(host string, stall time.Duration) (daemonClient, error) {
	u, err := url.Parse(host)
	if err != nil {
		return daemonClient{}, err
	}
	scheme, network, addr := "http", "tcp", u.Host
	switch u.Scheme {
	case "unix":
		network, addr = "unix", u.Path
	case "https":
		scheme = "https"
	case "tcp", "http":
	default:
		return daemonClient{}, errors.ErrUnsupported
	}
	t := newTransport(nil, stall)
	t.scheme = scheme
	t.next.Proxy = nil
	t.next.DialContext = func(ctx context.Context, _, target string) (net.Conn, error) {
		if network == "unix" {
			target = addr
		}
		c, err := (&net.Dialer{Timeout: min(connectLimit, stall)}).DialContext(ctx, network, target)
		return c, dialError(err)
	}
	client, err := moby.New(moby.WithHost(network+"://"+addr), moby.WithHTTPClient(&http.Client{Transport: t}))
	return daemonClient{client, t}, err
}

// dialError replaces the errors that the client would hide.
func dialError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return ErrNotRunning
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return errDenied
	}
	return err
}

func (d *Daemon) String() string { return fmt.Sprintf("the docker daemon (%s)", d.host) }

// Name is Docker.
func (d *Daemon) Name() string { return Docker }

// Close ends the connections that nobody uses. What is asked at the time goes on.
func (d *Daemon) Close() {
	d.client.transport.next.CloseIdleConnections()
	d.saver.transport.next.CloseIdleConnections()
}

// inspect asks for an image.
func (d *Daemon) inspect(ctx context.Context, name string) (moby.ImageInspectResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.stall, errStalled)
	defer cancel()
	is, err := d.client.ImageInspect(ctx, name)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return is, err
}

// Look implements Location. A daemon gives one variant of each image.
func (d *Daemon) Look(ctx context.Context, name, tag, platform string, tell func(string)) (Image, error) {
	defer d.waiting(tell, "looking the image up")()
	i, err := d.look(ctx, name, tag)
	if err == nil {
		err = i.only(d, platform, fmt.Sprintf("have it there first: docker pull --platform %s %s:%s", platform, name, tag))
	}
	return i, d.explain(ctx, err)
}

func (d *Daemon) look(ctx context.Context, name, tag string) (Image, error) {
	is, err := d.inspect(ctx, name+":"+tag)
	if err != nil {
		return Image{}, err
	}
	i := Image{Repository: name, Tag: tag, Digest: is.ID, Size: is.Size, Platform: platformIfTold(is.Os, is.Architecture, is.Variant)}
	if is.Config != nil {
		i.Labels = is.Config.Labels
	}
	if i.Created, err = time.Parse(time.RFC3339Nano, is.Created); err != nil {
		return Image{}, Unusable(d, "has a date of creation that is not valid")
	}
	m, known, err := d.known(ctx, is.ID)
	if err != nil {
		return Image{}, err
	}
	if known {
		i.Digest = string(m.Self.Digest)
	}
	i.fetch = func(ctx context.Context, report func(Progress)) (Image, error) {
		fetched, err := d.fetch(ctx, i, is, report)
		return fetched, d.explain(ctx, err)
	}
	return i, nil
}

// waiting tells who waits what for, unless the function that it returns is called
// soon.
func (d *Daemon) waiting(tell func(string), step string) (end func()) {
	return sayLater(d.client.transport.quiet, tell, fmt.Sprintf("Waiting for %s: %s.", d, step))
}

// fetch has the daemon save the image, unless it is here already.
func (d *Daemon) fetch(ctx context.Context, i Image, is moby.ImageInspectResult, report func(Progress)) (Image, error) {
	m, known, err := d.known(ctx, is.ID)
	if err != nil {
		return Image{}, err
	}
	if known {
		if known, err = d.whole(ctx, m, report); err != nil {
			return Image{}, err
		}
	}
	c := newCounter(report, nil)
	if !known {
		all := content.Blob{Size: is.Size} // the daemon does not tell of parts
		c = newCounter(report, []content.Blob{all})
		c.watch(d, d.client.transport.quiet)
		m, err = d.saves.Watch(ctx, is.ID, func(n int64) { c.at(all, min(n, is.Size), "packing the image") },
			func(ctx context.Context, n *atomic.Int64) (content.Manifest, error) { return d.save(ctx, is, n) })
		if err != nil {
			return Image{}, err
		}
	}
	defer d.store.Lease(m.Blobs())()
	raw, err := d.store.Read(m.Config.Digest)
	if err != nil {
		return Image{}, err
	}
	config, err := content.ParseConfig(raw)
	if err != nil {
		return Image{}, Unusable(d, "has a config that is not valid")
	}
	if err := complete(ctx, d, d.store, m, sayLater(d.client.transport.quiet, c.note, unpacking)); err != nil {
		return Image{}, err
	}
	c.end()
	i.describe(m, config)
	return i, nil
}

// whole verifies what is here of an image, and reports whether that is all of it.
func (d *Daemon) whole(ctx context.Context, m content.Manifest, report func(Progress)) (bool, error) {
	raw, err := d.store.Read(m.Config.Digest)
	if err == nil && content.Sum(raw) != m.Config.Digest {
		raw = []byte("{}") // it is set aside, and its layers need no config
	}
	if err == nil {
		err = verifyHere(ctx, d.store, m, raw, report)
	}
	return len(d.store.Missing(m.Blobs())) == 0, err
}

// save has the daemon save an image and keeps what is in the archive.
func (d *Daemon) save(ctx context.Context, is moby.ImageInspectResult, n *atomic.Int64) (content.Manifest, error) {
	if err := d.store.CheckSpace(is.Size); err != nil {
		return content.Manifest{}, err
	}
	body, err := d.saver.ImageSave(ctx, []string{is.ID})
	if err != nil {
		return content.Manifest{}, err
	}
	defer body.Close()
	return d.unpack(ctx, countingReader{body, n})
}

// unpack stores the image of an archive that the daemon packed, but for its manifest.
// That is made here: its layers are kept as they came, uncompressed most often.
func (d *Daemon) unpack(ctx context.Context, r io.Reader) (content.Manifest, error) {
	a, err := unpackArchive(ctx, d, d.store, r, nil)
	if err != nil {
		return content.Manifest{}, err
	}
	defer a.remove()
	all, err := a.saved()
	if err != nil {
		return content.Manifest{}, err
	}
	raw, kind, err := all[0].open(ctx)
	if err != nil {
		return content.Manifest{}, err
	}
	m, err := parse(d, raw, kind)
	if err != nil {
		return content.Manifest{}, err
	}
	config, err := a.config(ctx, m.Config)
	if err != nil {
		return content.Manifest{}, err
	}
	defer d.store.Lease(m.Blobs())()
	return m, a.adopt(ctx, m, config, nil)
}

// Search implements Location.
func (d *Daemon) Search(ctx context.Context, q Query, found func(Image), tell func(string)) error {
	defer d.waiting(tell, "listing the images")()
	return d.explain(ctx, d.search(ctx, q, found))
}

func (d *Daemon) search(ctx context.Context, q Query, found func(Image)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.stall, errStalled)
	defer cancel()
	list, err := d.client.ImageList(ctx, moby.ImageListOptions{Filters: moby.Filters{}.Add("label", q.Label)})
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	for _, i := range list.Items {
		for _, name := range i.RepoTags {
			repository, tag := splitName(name)
			if ValidName(repository, tag) && q.Matches(repository, tag) {
				found(Image{Repository: repository, Tag: tag, Digest: i.ID, Labels: i.Labels, Created: time.Unix(i.Created, 0).UTC(), Size: i.Size})
			}
		}
	}
	return nil
}

// splitName splits the name of an image in the docker daemon. Podman's begin with
// the host that they are of.
func splitName(name string) (repository, tag string) {
	name = strings.TrimPrefix(name, "docker.io/")
	if i := strings.LastIndex(name, ":"); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}
