package nodes

import (
	"context"
	"errors"
	"sync"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/state"
)

// bench plays what knows of machines: which digests they cannot boot, and why. Of each
// it knows nothing before it was looked at.
type bench struct {
	mu    sync.Mutex
	why   map[string]string
	seen  map[string]bool
	looks int
	lent  map[string]images.Ref // by digest, which image lends a kernel
	err   error                 // of a look
	small int                   // MiB, with which a machine boots nothing
}

func (b *bench) Known(_ state.Reader, img images.Image, d Device) (Outlook, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.Settings().RAM > 0 && d.Settings().RAM <= b.small {
		return Outlook{Why: "it is too small", Hint: "mend " + string(d.Name)}, true, nil
	}
	return Outlook{Why: b.why[img.Digest], Hint: "mend " + string(d.Name), Lender: b.lent[img.Digest]}, b.seen[img.Digest], nil
}

func (b *bench) Look(_ context.Context, img images.Image, _ images.Model) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	b.seen[img.Digest] = b.err == nil
	return b.err
}

func (b *bench) Firmware(context.Context, images.Image, images.Model) ([]Firmware, error) {
	return nil, nil
}

// What a machine cannot boot is refused before anything changes or anybody is asked;
// nodes that are simulated are not concerned, and a release is never refused.
func TestMachinesAreSparedWhatTheyCannotBoot(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	b := &bench{why: map[string]string{sum("hollow"): "it has no kernel"}, seen: map[string]bool{}}
	l.Machines, l.Hosts[QEMU] = b, l.grid
	for name, kind := range map[Name]HostKind{"vm1": QEMU, "vm2": QEMU, "sim": Simulated} {
		_, err := l.Register(t.Context(), "alice", Announcement{Name: name, MAC: macOf(string(name)), Model: "m1", Host: kind})
		ok(t, err)
	}
	for _, name := range []string{"alice/hollow", "alice/good"} {
		l.image(t, images.Image{Ref: ref(name), Digest: sum(ref(name).Name), Models: []images.Model{"m1"}})
	}
	boot := func(set, image string, given consent.Agreement) error {
		_, err := l.SetImage(t.Context(), auth.Name("alice").Actor(), parse(set), image, Remarks{}, given)
		return err
	}
	wantFault(t, boot("all-nodes", "hollow", consent.Agreement{}), fault.Failed, "hollow cannot boot vm1, vm2: it has no kernel; nothing changed", "mend vm1")
	equal(t, "owners", l.owners(t, "sim", "vm1", "vm2"), auth.Nobody, auth.Nobody, auth.Nobody)
	ok(t, boot("sim", "hollow", consent.Agreement{}))
	ok(t, boot("vm1,vm2", "good", consent.Agreement{}))
	if b.looks != 2 {
		t.Errorf("it was looked at images %d times, want once at each", b.looks)
	}

	// A clone that is there already, and machines of others.
	_, err := l.Release(t.Context(), auth.Name("alice").Actor(), parse("vm2"))
	ok(t, err)
	l.image(t, images.Image{Ref: ref("bob/m1-default"), Digest: sum("hollow"), Models: []images.Model{"m1"}})
	for _, set := range []string{"vm1", "vm2"} {
		_, err = l.Acquire(t.Context(), "bob", parse(set), Remarks{}, consent.Agreement{})
		wantFault(t, err, fault.Failed, "m1-default cannot boot "+set)
	}
	_, err = l.AcquireAny(t.Context(), "bob", Some{N: 1}, Remarks{})
	wantFault(t, err, fault.Failed, "m1-default cannot boot vm2")
	equal(t, "owners", l.owners(t, "vm1", "vm2"), "alice", auth.Nobody)

	// New content under the name that a machine boots.
	_, _, err = l.clone(t.Context(), ref("alice/hollow"), ref("alice/good"), true, consent.Agreement{Whoever: true})
	wantFault(t, err, fault.Failed, "good is booted by vm1", "it has no kernel", "nothing changed")
	_, _, err = l.clone(t.Context(), ref("alice/good"), ref("alice/hollow"), true, consent.Agreement{Whoever: true})
	ok(t, err)

	// The default image cannot boot any more, as after an update.
	l.image(t, images.Image{Ref: images.DefaultRef("m1"), Digest: sum("hollow"), Models: []images.Model{"m1"}})
	_, err = l.Release(t.Context(), auth.Name("alice").Actor(), parse("vm1"))
	ok(t, err)
	l.Failed("vm1", fault.Failedf("it has no kernel")) // as its host finds
	if s := l.state(t, "vm1"); !s.Free() || s.State != Unreachable || s.Why != "it has no kernel" {
		t.Errorf("released, it is %+v", s.Status)
	}
	ok(t, boot("vm1", "good", consent.Agreement{}))
	ok(t, boot("vm1", "default", consent.Agreement{}))
	l.Creates = func(images.Model) (HostKind, string, error) { return QEMU, "", nil }
	_, err = l.Create(t.Context(), "alice", Virtual{Name: "vm3", Model: "m1"}, nil)
	wantFault(t, err, fault.Failed, "m1-default cannot boot vm3: it has no kernel; nothing changed", "node create vm3 --model m1 --simulated")
	if found, _ := l.Named(t.Context(), []Name{"vm3"}); len(found) > 0 {
		t.Error("it was made")
	}
	_, err = l.Create(t.Context(), "alice", Virtual{Name: "vm3", Model: "m1", Simulated: true}, nil)
	ok(t, err)

	// Settings with which a machine could not boot any more.
	config := func(d Name, settings string) error {
		want, _, err := ParseAssignments([]string{settings}, nil)
		ok(t, err)
		_, err = l.Configure(t.Context(), "alice", parse(string(d)), true, want, consent.Agreement{})
		return err
	}
	ok(t, boot("vm1", "good", consent.Agreement{}))
	b.small = 64
	wantFault(t, config("vm1", "ram=64M"), fault.Failed, "vm1 could not boot good any more: it is too small; nothing changed", "mend vm1")
	if d := l.device(t, "vm1"); d.Settings().RAM != 0 {
		t.Errorf("it has %d MiB", d.Settings().RAM)
	}
	ok(t, config("vm1", "ram=65M"))
	ok(t, config("sim", "ram=64M"))
	ok(t, config("vm2", "ram=64M")) // it boots nothing as it is

	b.err = errors.New("the disk is broken")
	l.image(t, images.Image{Ref: ref("alice/new"), Digest: sum("new"), Models: []images.Model{"m1"}})
	if err := boot("vm1", "new", consent.Agreement{}); !errors.Is(err, b.err) {
		t.Errorf("an image that cannot be looked at: %v", err)
	}
}

// A default image that machines cannot boot is refused for machines of others, too, as
// it is what they boot when they are released; not for what one is set to.
func TestDefaultThatMachinesCannotBoot(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	b := &bench{why: map[string]string{sum("hollow"): "it has no kernel"}, seen: map[string]bool{}, small: 64}
	l.Machines, l.Hosts[QEMU] = b, l.grid
	vm := Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU}
	_, err := l.Register(t.Context(), "alice", vm)
	ok(t, err)
	_, err = l.Acquire(t.Context(), "bob", parse("vm1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	set := func(name string) error {
		l.image(t, images.Image{Ref: ref("alice/" + name), Digest: sum(name), Models: []images.Model{"m1", "m2"}})
		return l.Images.SetDefault(t.Context(), "alice", name, images.Terms{}, func(images.Default) {})
	}
	now := func() string {
		img, err := state.Read(t.Context(), l.Store, func(r state.Reader) (images.Image, error) { return images.Get(r, images.DefaultRef("m1")) })
		ok(t, err)
		return img.Digest
	}
	wantFault(t, set("hollow"), fault.Failed, "not made the default image of m1: vm1 could not boot that version of m1-default: it has no kernel; nothing changed", "mend vm1")
	if now() != sum("m1") {
		t.Errorf("the default image is %s", now())
	}
	want, _, err := ParseAssignments([]string{"ram=64M"}, nil)
	ok(t, err)
	_, err = l.Store.Update(t.Context(), func(tx state.Tx) error { // as it was set before
		d, err := devices.Get(tx, "vm1")
		s := newSubject(d)
		return errors.Join(err, s.assign(want), devices.Put(tx, "vm1", s.Device))
	})
	ok(t, err)
	ok(t, set("good"))
	if now() != sum("good") {
		t.Errorf("the default image is %s", now())
	}

	// Without a machine of the model nobody minds, and "node create" says so.
	_, err = l.Remove(t.Context(), "bob", parse("vm1"), consent.Agreement{})
	ok(t, err)
	ok(t, set("hollow"))
	l.Creates = func(images.Model) (HostKind, string, error) { return QEMU, "", nil }
	_, err = l.Create(t.Context(), "alice", Virtual{Name: "vm2", Model: "m1"}, nil)
	wantFault(t, err, fault.Failed, "cannot boot vm2: it has no kernel; nothing changed", "node create vm2 --model m1 --simulated")
}

// What is wrong with one image, or the disk that it is on, is told of that one.
func TestOutlooksOfABrokenImage(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	b := &bench{seen: map[string]bool{sum("m1"): true}, err: errors.New("the disk is broken")}
	l.Machines, l.Hosts[QEMU] = b, l.grid
	_, err := l.Register(t.Context(), "alice", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
	ok(t, err)
	good := defaultOf("m1")
	bad := images.Image{Ref: ref("alice/bad"), Digest: sum("bad"), Models: good.Models}
	found, _, err := l.Outlooks(t.Context(), []images.Image{bad, good})
	ok(t, err)
	if o, known := found[good.Ref]; !known || o.Why != "" || found[bad.Ref].Why != "the server failed to look at it" {
		t.Errorf("got %+v", found)
	}
}

// Who needs the kernel of an image is told to whom would remove it, and its new content
// has to have one.
func TestKernelThatIsLent(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	b := &bench{why: map[string]string{sum("hollow"): "it has no kernel"}, seen: map[string]bool{}, lent: map[string]images.Ref{sum("bare"): ref("bob/red")}}
	l.Machines, l.Hosts[QEMU] = b, l.grid
	for _, name := range []Name{"vm1", "vm2", "vm3"} {
		_, err := l.Register(t.Context(), "alice", Announcement{Name: name, MAC: macOf(string(name)), Model: "m1", Host: QEMU})
		ok(t, err)
	}
	for _, name := range []string{"alice/bare", "alice/good", "bob/red", "bob/hollow", "bob/blue"} {
		l.image(t, images.Image{Ref: ref(name), Digest: sum(ref(name).Name), Models: []images.Model{"m1"}})
	}
	for set, name := range map[string]string{"vm1,vm2": "bare", "vm3": "good"} {
		_, err := l.SetImage(t.Context(), auth.Name("alice").Actor(), parse(set), name, Remarks{}, consent.Agreement{})
		ok(t, err)
	}
	clear(b.seen) // as in a server that has just started
	err := l.Images.Remove(t.Context(), "bob", "red", images.Terms{})
	contest, is := errors.AsType[*consent.Error](err)
	if !is || len(contest.Nodes) != 2 || contest.Nodes[1].Node != "vm2" || contest.Nodes[1].Uses != "boots alice/bare with the kernel of red" || contest.Nodes[1].Of != "red" {
		t.Fatalf("nobody is asked: %v, %+v", err, contest)
	}
	_, _, err = l.clone(t.Context(), ref("bob/hollow"), ref("bob/red"), true, consent.Agreement{Whoever: true})
	wantFault(t, err, fault.Failed, "red lends its kernel to alice/bare, which vm", "it has no kernel; nothing changed", "another name")
	_, _, err = l.clone(t.Context(), ref("bob/blue"), ref("bob/red"), true, consent.Agreement{})
	ok(t, err) // they have it when they reboot

	ok(t, l.Images.Remove(t.Context(), "bob", "blue", images.Terms{}))
	ok(t, l.Images.Remove(t.Context(), "bob", "red", images.Terms{Given: consent.Agreement{Whoever: true}}))
	equal(t, "what they boot", []images.Ref{l.device(t, "vm1").Image, l.device(t, "vm2").Image}, ref("alice/bare"), ref("alice/bare"))
}

// labels are what lends the images of these digests their kernel, by the names that
// their labels have.
type labels map[string]string

func (b labels) Known(r state.Reader, img images.Image, _ Device) (Outlook, bool, error) {
	name := b[img.Digest]
	if name == "" {
		return Outlook{}, true, nil
	}
	lender, found, err := images.Lender(r, img.Ref.User, name)
	if err != nil || !found {
		return Outlook{Why: "it has no kernel"}, true, err
	}
	return Outlook{Lender: lender.Ref}, true, nil
}

func (labels) Look(context.Context, images.Image, images.Model) error { return nil }

func (labels) Firmware(context.Context, images.Image, images.Model) ([]Firmware, error) {
	return nil, nil
}

// When a user is removed it is asked about the machines that could not boot again, and
// about no others: not those that find the kernel with the heir, nor those that are free
// by that.
func TestRemoveUserWhoLends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		image, label string // of the machine, and what lends it its kernel
		legacy       Legacy
		want         string // what is told of it
	}{
		"another's":         {"carol/bare", "bob/red", Legacy{Force: true}, "boots carol/bare with the kernel of bob/red"},
		"another's, heir":   {"carol/bare", "bob/red", Legacy{Heir: "alice"}, "boots carol/bare with the kernel of bob/red"},
		"own, heir":         {"bob/bare", "red", Legacy{Heir: "alice"}, ""},
		"own by name, heir": {"bob/bare", "bob/red", Legacy{Heir: "alice"}, "boots bob/bare with the kernel of bob/red"},
		"own, released":     {"bob/bare", "bob/red", Legacy{Force: true}, ""},
		"another lender":    {"carol/bare", "red", Legacy{Force: true}, ""},
	} {
		l := newLab(t, []auth.Name{"bob", "carol"})
		l.Machines, l.Hosts[QEMU] = labels{sum("bare"): c.label}, l.grid
		_, err := l.Register(t.Context(), "alice", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
		ok(t, err)
		for _, name := range []string{"bob/bare", "bob/red", "carol/bare", "carol/red"} {
			l.image(t, images.Image{Ref: ref(name), Digest: sum(ref(name).Name), Models: []images.Model{"m1"}})
		}
		booted := ref(c.image)
		_, err = l.SetImage(t.Context(), booted.User.Actor(), Only("vm1"), booted.Short(), Remarks{}, consent.Agreement{})
		ok(t, err)
		_, err = l.RemoveUser(t.Context(), "alice", "bob", c.legacy)
		if contest, is := errors.AsType[*consent.Error](err); is && c.want != "" {
			if len(contest.Nodes) != 1 || contest.Nodes[0].Uses != c.want || contest.Nodes[0].Of != "bob" {
				t.Errorf("%s: asked about %+v", name, contest.Nodes)
			}
			c.legacy.Given.Shown = contest.Nodes
			_, err = l.RemoveUser(t.Context(), "alice", "bob", c.legacy)
		} else if c.want != "" {
			t.Errorf("%s: nobody is asked: %v", name, err)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		sound(t, l.Store)
	}
}

// chips plays what knows of kernels: the digest of an image that boots is its model's name.
type chips struct{}

func (chips) Known(_ state.Reader, img images.Image, d Device) (Outlook, bool, error) {
	if img.Digest != sum(string(d.Model)) {
		return Outlook{Why: "its kernel is not for " + string(d.Model)}, true, nil
	}
	return Outlook{}, true, nil
}

func (chips) Look(context.Context, images.Image, images.Model) error { return nil }

func (chips) Firmware(context.Context, images.Image, images.Model) ([]Firmware, error) {
	return nil, nil
}

// Where boards boot from the server, they are spared as well what their model cannot boot;
// an image for several models is shown as what it is for the first that it does not serve.
func TestBoardsAreSparedWhatTheyCannotBoot(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	l.Machines = chips{}
	for name, model := range map[Name]images.Model{"b1": "m1", "b2": "m2"} {
		l.image(t, images.Image{Ref: images.DefaultRef(model), Digest: sum(string(model)), Models: []images.Model{model}})
		_, err := l.Register(t.Context(), "alice", Announcement{Name: name, MAC: macOf(string(name)), Model: model})
		ok(t, err)
	}
	l.image(t, images.Image{Ref: ref("alice/both"), Digest: sum("m1"), Models: []images.Model{"m1", "m2"}})
	boot := func(set string) error {
		_, err := l.SetImage(t.Context(), auth.Name("alice").Actor(), parse(set), "both", Remarks{}, consent.Agreement{})
		return err
	}
	both, err := l.Images.Own(t.Context(), "alice", "both")
	ok(t, err)
	if _, here, err := l.Outlooks(t.Context(), []images.Image{both}); here || err != nil {
		t.Errorf("what boots elsewhere is a machine: %v", err)
	}
	ok(t, boot("b2"))
	_, err = l.Release(t.Context(), auth.Name("alice").Actor(), parse("b2"))
	ok(t, err)

	l.Boards = true
	wantFault(t, boot("b1,b2"), fault.Failed, "both cannot boot b2: its kernel is not for m2; nothing changed")
	ok(t, boot("b1"))
	found, here, err := l.Outlooks(t.Context(), []images.Image{both})
	ok(t, err)
	if o := found[both.Ref]; !here || o.Model != "m2" || o.Why != "its kernel is not for m2" {
		t.Errorf("it is shown as %+v, %v", o, here)
	}
	err = l.Images.SetDefault(t.Context(), "alice", "both", images.Terms{}, func(images.Default) {})
	wantFault(t, err, fault.Failed, "its kernel is not for m2")
}
