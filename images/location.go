package images

import (
	"context"
	"fmt"
	"strings"

	"walt/fault"
)

// location is a place outside of this server that has images. Its String is for
// people and never holds credentials.
type location interface {
	fmt.Stringer
	// name is what links call it.
	name() string
	// look returns the record that the image would have, without its layers.
	look(ctx context.Context, l *Library, ref Ref) (Image, error)
	// fetch brings the content of an image and returns the record that it would
	// have; found is whether the location has the image.
	fetch(ctx context.Context, l *Library, ref Ref, report func(Progress)) (_ Image, found bool, _ error)
	// search shows the images whose name has the word.
	search(ctx context.Context, w word, found func(Found)) error
	// explain puts an error of the others into words, or returns false for one
	// that is no business of users.
	explain(error) (trouble, bool)
}

// SetRegistries says where images are looked for, in this order. It may be
// called again at any time: downloads that run finish as they began. On an
// error, a registry with an address that makes no sense, nothing changes.
func (l *Library) SetRegistries(rs []Registry) error {
	var fresh []*source
	for _, r := range rs {
		s, err := newSource(r, l.platforms, l.stall)
		if err != nil {
			return err
		}
		fresh = append(fresh, s)
	}
	l.mu.Lock()
	old := l.sources
	l.sources = fresh
	l.mu.Unlock()
	for _, s := range old {
		s.close()
	}
	return nil
}

// SetDocker says where the docker daemon is, a URL as in DOCKER_HOST; "" is none.
// That one runs there is not asked for. It may be called again at any time.
func (l *Library) SetDocker(host string) error {
	var fresh *daemon
	if host != "" {
		var err error
		if fresh, err = newDaemon(host, l.stall); err != nil {
			return err
		}
	}
	l.mu.Lock()
	old := l.docker
	l.docker = fresh
	l.mu.Unlock()
	if old != nil {
		old.close()
	}
	return nil
}

// locations are all that are configured, in the order in which they are asked.
func (l *Library) locations() []location {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []location
	for _, s := range l.sources {
		all = append(all, s)
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
		names = append(names, at.name())
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

func (l *Library) location(name string) (location, error) {
	for _, at := range l.locations() {
		if at.name() == name {
			return at, nil
		}
	}
	known := append([]string{Here}, l.Locations()...)
	f := fault.Unknown("image location", []string{name}, known, "")
	f.Hint = strings.TrimPrefix(f.Hint+"\nthe locations are: "+strings.Join(known, ", "), "\n") // beside a near one too
	return nil, f
}

// words makes a fault of what went wrong at a location, unless it is no
// business of users.
func words(at location, err error) error {
	if t, ok := at.explain(err); ok {
		return &fault.Error{Kind: fault.Failed, Msg: t.msg, Hint: t.hint}
	}
	return fmt.Errorf("ask %s: %w", at, err)
}
