// Package nodes is the heart of the lab: its devices, who owns which node, and
// what happens when that changes. It draws no screens and asks no questions:
// what needs a user's consent is returned as facts and called again with them.
// Its one surprising rule: ownership is never recorded; the owner of a node is
// the user whose image it boots, and only change.boot writes that.
package nodes

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Hypervisor runs the virtual nodes.
type Hypervisor interface {
	// Start powers a node on, or cuts its power and powers it on again. It
	// returns at once; the node asks Lab.Boot what to boot.
	Start(Name)
	// Stop cuts the power of a node and returns when it is off.
	Stop(Name)
}

// Library is where images come from.
type Library interface {
	// Fetch downloads the content of an image from the registries and returns
	// the record that it would have.
	Fetch(context.Context, images.Ref, func(images.Progress)) (images.Image, error)
	// FetchLink is Fetch from one location.
	FetchLink(context.Context, images.Link, func(images.Progress)) (images.Image, error)
	// Offers tells which image each location has under the name.
	Offers(context.Context, images.Ref) []images.Offer
	// Seed makes a user's first images: clones of the default ones of the models.
	Seed(ctx context.Context, user auth.Name, models []string) ([]images.Image, error)
}

// Config is what a Lab works with.
type Config struct {
	Store   state.Store
	Journal *journal.Journal
	Library Library
	Virtual Hypervisor // may be set after New, before anything else is called
	Key     ssh.Signer // that nodes trust: the lab's own way into them
	IP      string     // of the server, "" when it has several
	Log     *slog.Logger
	Now     func() time.Time
	// Retry is the pause after the first failed download of a default image; it
	// doubles up to 64 times that.
	Retry time.Duration
}

// Lab is all devices of one store.
type Lab struct {
	Config
	status   *board
	visits   *visits
	jobs     *jobs
	download chan struct{} // holds one token while the list of downloads may have changed
}

// New returns the lab; Run makes it live.
func New(c Config) *Lab {
	return &Lab{Config: c, status: newBoard(c.Now), visits: newVisits(), jobs: &jobs{all: map[string]*running{}}, download: make(chan struct{}, 1)}
}

// Run starts the virtual nodes, which also finishes every change of an image
// whose reboot an earlier end of the server cut off, and downloads the default
// images of devices that wait for one. It returns when ctx ends.
func (l *Lab) Run(ctx context.Context) error {
	var all []Device
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		all, err = everything(r)
		return err
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	for _, d := range all {
		if d.Kind == Node && d.Virtual {
			l.Virtual.Start(d.Name)
		}
	}
	return l.downloads(ctx)
}

// Nodes is a snapshot of nodes and the users' images that they boot.
type Nodes []NodeState

// NodeState is a device and what it is doing now.
type NodeState struct {
	Device
	Status
}

// Show returns the nodes of the set.
func (l *Lab) Show(ctx context.Context, user auth.Name, set Set) (Nodes, error) {
	return l.show(ctx, user, set, nodeScope)
}

// Mine returns the nodes that the user owns; there may be none.
func (l *Lab) Mine(ctx context.Context, user auth.Name) (Nodes, error) {
	return l.pick(ctx, func(d Device) bool { return d.Kind == Node && d.Owner() == user })
}

// All returns every node.
func (l *Lab) All(ctx context.Context) (Nodes, error) {
	return l.pick(ctx, func(d Device) bool { return d.Kind == Node })
}

// Devices returns the devices of the set, and whether the set names the server,
// which is none of them.
func (l *Lab) Devices(ctx context.Context, user auth.Name, set Set) (found Nodes, server bool, err error) {
	rest := Set{slices.DeleteFunc(slices.Clone(set.terms), func(term string) bool { return term == serverKeyword })}
	server = len(rest.terms) < len(set.terms)
	if server && len(rest.terms) == 0 {
		return nil, true, nil
	}
	found, err = l.show(ctx, user, rest, deviceScope)
	return found, server, err
}

// AllDevices returns every device.
func (l *Lab) AllDevices(ctx context.Context) (Nodes, error) {
	return l.pick(ctx, func(Device) bool { return true })
}

func (l *Lab) show(ctx context.Context, user auth.Name, set Set, sc scope) (found Nodes, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		ds, err := set.expand(r, user, sc)
		found = l.withStatus(ds)
		return err
	})
	return found, err
}

func (l *Lab) pick(ctx context.Context, wanted func(Device) bool) (found Nodes, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		all, err := everything(r)
		found = l.withStatus(which(all, wanted))
		return err
	})
	return found, err
}

func (l *Lab) withStatus(ds []Device) Nodes {
	all := make(Nodes, len(ds))
	for i, d := range ds {
		all[i] = NodeState{d, l.status.of(d.Name)}
	}
	return all
}

// Names returns the names of all devices, in no useful order: for completion.
func (l *Lab) Names(ctx context.Context) (names []string, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		for key, err := range devices.Keys(r, "") {
			if err != nil {
				return err
			}
			names = append(names, key)
		}
		return nil
	})
	return names, err
}

// Models returns the models of the nodes that are here, each once, in order.
func (l *Lab) Models(ctx context.Context) (found []string, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		all, err := everything(r)
		found = models(all)
		return err
	})
	return found, err
}
