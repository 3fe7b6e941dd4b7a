package images

import (
	"context"
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/images/content"
	"walt/images/source"
	"walt/state"
)

// Registry says where a registry is: see SetRegistries.
type Registry = source.RegistryConfig

// SetRegistries says where images are looked for, in this order. It may be
// called again at any time: downloads that run finish as they began. On an error,
// an address that the configuration should have refused, nothing changes.
func (l *Library) SetRegistries(configs []Registry) error {
	var fresh []*source.Registry
	for _, c := range configs {
		if c.Label == Hub { // the default images are searched too
			c.Accounts = append([]string{string(auth.Nobody)}, c.Accounts...)
		}
		r, err := source.NewRegistry(c, l.content, l.machines, l.stall)
		if err != nil {
			return err
		}
		fresh = append(fresh, r)
	}
	l.mu.Lock()
	old := l.registries
	l.registries = fresh
	l.mu.Unlock()
	for _, r := range old {
		r.Close()
	}
	return nil
}

// SetDocker says where the docker daemon is, a URL as in DOCKER_HOST; "" is none.
// That one runs there is not asked for. It may be called again at any time.
func (l *Library) SetDocker(host string) error {
	var fresh *source.Daemon
	if host != "" {
		var err error
		if fresh, err = source.NewDaemon(host, l.content, l.known, l.stall); err != nil {
			return err
		}
	}
	l.mu.Lock()
	old := l.docker
	l.docker = fresh
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return nil
}

// known finds the manifest of an image of the records by its ID in docker daemons.
func (l *Library) known(ctx context.Context, id string) (content.Manifest, bool, error) {
	digests, err := l.digests(ctx)
	if err != nil {
		return content.Manifest{}, false, err
	}
	for _, d := range digests {
		m, err := l.content.Manifest(d)
		if err == nil && (string(m.Config.Digest) == id || string(d) == id) && len(l.content.Missing(m.Blobs())) == 0 {
			return m, true, nil
		}
	}
	return content.Manifest{}, false, nil
}

// digests are those of the manifests of all records, each once. What none of them needs
// is to be removed: no record of it may come back.
func (l *Library) digests(ctx context.Context) ([]content.Digest, error) {
	all, err := state.Lasting(ctx, l.store, All)
	var digests []content.Digest
	seen := map[string]bool{}
	for _, i := range all {
		d, err := content.ParseDigest(i.Digest)
		if err != nil || seen[i.Digest] {
			continue // a record without content, or of one that is shared
		}
		seen[i.Digest] = true
		digests = append(digests, d)
	}
	return digests, err
}

// locations are all that are configured, in the order in which they are asked.
func (l *Library) locations() []source.Location {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []source.Location
	for _, r := range l.registries {
		all = append(all, r)
	}
	if l.docker != nil {
		all = append(all, l.docker)
	}
	return all
}

// Locations returns the names of the locations beside Here, in the order in
// which they are asked.
func (l *Library) Locations() []string {
	var names []string
	for _, at := range l.locations() {
		names = append(names, at.Name())
	}
	return names
}

// HasLocation is a fault that names the locations when there is none of that name.
func (l *Library) HasLocation(name string) error {
	if name == Here {
		return nil
	}
	_, err := l.location(name)
	return err
}

func (l *Library) location(name string) (source.Location, error) {
	for _, at := range l.locations() {
		if at.Name() == name {
			return at, nil
		}
	}
	known := append([]string{Here}, l.Locations()...)
	f := fault.Unknown("image location", []string{name}, known, "")
	f.Hint = strings.TrimPrefix(f.Hint+"\nthe locations are: "+strings.Join(known, ", "), "\n") // beside a near one too
	return nil, f
}
