package images

import (
	"context"

	"walt/auth"
	"walt/consent"
	"walt/journal"
	"walt/state"
)

// Nodes are what boots images. Which of them boots what is their business; that
// no image changes under them unnoticed is the business of both, so it happens
// in one transaction.
type Nodes interface {
	// Models returns the models of the nodes that are here.
	Models(context.Context) ([]Model, error)
	// Borrowers returns the nodes that boot an image of their users with the kernel of
	// another one, which that needs to boot again, in natural order.
	Borrowers(ctx context.Context, lender Ref) ([]consent.Claim, error)
	// Change runs f in one transaction and then restarts the nodes that f said,
	// which it returns with what came of it. An error of f leaves everything as it
	// was. f may run again, so it reads and writes and does nothing else.
	Change(ctx context.Context, actor journal.Actor, f func(Change) error) ([]Restart, error)
	// Await returns when the node that Try found is up on the image that it was told
	// to boot, calling progress now and then. It is a fault when it does not come up
	// in its time, and ErrTaken when no node boots that image any more.
	Await(ctx context.Context, next Ref, progress func(Trial)) error
}

// Change is a transaction that sees, and can change, what nodes boot.
type Change interface {
	state.Tx
	// Booting returns the nodes that boot an image, in natural order.
	Booting(Ref) ([]Node, error)
	// CanBoot is a fault when one of the nodes that boot an image could not boot the
	// content of another, which is here, under its name; or with the kernel that it
	// lends. A default image is for all nodes of its model, whatever they boot now.
	CanBoot(Ref, Image) error
	// Restart has a node restarted on its image after the commit.
	Restart(Node) error
	// Try has one of the free nodes that boot an image, one that was up before and
	// is none of the named ones, boot another after the commit, and returns its name;
	// "" when there is none.
	Try(present, next Ref, not []string) (string, error)
	// Move has all nodes that boot an image boot another of the same user, after a
	// restart or, since they run that content already, without.
	Move(from, to Ref, restart bool) error
	// Waiting reports whether a device waits for the default image of the model.
	Waiting(Model) (bool, error)
	// Enroll makes free nodes of the devices that wait for the default image of
	// the model, which is here now.
	Enroll(Model, Image) error
}

// Node is a node that boots an image.
type Node struct {
	consent.Claim // whose it is
	Model         Model
	Visitors      []auth.Name // who has a session on it now
	Failed        bool        // to boot its image: nothing runs on it
}

// Restart is what came of restarting a node because its image changed.
type Restart struct {
	Node    string
	Image   Ref
	Outcome string // as nodes call it
	Reason  string // why it failed, in words for users
}
