package commands

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"walt/images"
	"walt/nodes"
	"walt/state"
)

// bench plays what knows of machines: what comes of booting each digest. What it does
// not know cannot be found out in time.
type bench map[string]nodes.Outlook

func (b bench) Known(_ state.Reader, img images.Image, _ nodes.Device) (nodes.Outlook, bool, error) {
	o, known := b[img.Digest]
	return o, known, nil
}

func (bench) Look(ctx context.Context, _ images.Image, _ images.Model) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (bench) Firmware(context.Context, images.Image, images.Model) ([]nodes.Firmware, error) {
	return nil, nil
}

// In a lab with machines, images for them are shown with whether they boot, and why not.
func TestImagesThatBootMachines(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	digest := func(n int) string { return fmt.Sprintf("sha256:%064d", n) }
	for n, name := range []string{"good", "hollow", "slow", "board"} {
		ref, err := images.ParseName("bob", name)
		lab.must(err)
		models := []images.Model{"pc-x86-64"}
		if name == "board" {
			models = []images.Model{"rpi-3-b"}
		}
		lab.addImage(images.Image{Ref: ref, Digest: digest(n), Models: models})
	}
	archive := packed(t, "os pc-x86-64")
	if got := lab.run("bob", "image load os", archive); got.status != StatusDone || strings.Contains(got.stderr, "boots no machine") {
		t.Errorf("without a machine: %+v", got)
	}
	os, err := lab.app.Images.Own(t.Context(), "bob", "os")
	lab.must(err)
	lab.ok("bob", "image remove os")
	lab.nodes.Machines = bench{digest(0): {Kernel: "6.1"}, digest(1): {Why: "it has no kernel"}, os.Digest: {Why: "it has no modules"}}
	if out := lab.ok("bob", "image show"); strings.Contains(out, "BOOTS") {
		t.Errorf("without a machine: %s", out)
	}
	_, err = lab.nodes.Register(t.Context(), "alice", nodes.Announcement{Name: "vm1", MAC: "52:54:00:00:02:01", Model: "pc-x86-64", Host: nodes.QEMU})
	lab.must(err)
	lab.tell([]step{{
		user: "bob", line: "image show",
		stdout: "NAME    IN USE  CREATED     BOOTS  MODELS\n" +
			"board   -       2026-11-20  -      rpi-3-b\n" +
			"good    -       2026-11-20  yes    pc-x86-64\n" +
			"hollow  -       2026-11-20  no     pc-x86-64\n" +
			"slow    -       2026-11-20  -      pc-x86-64\n",
		stderr: "hollow boots no machine: it has no kernel.\n",
	}})
	for name, want := range map[string]string{
		"good": `"boots":true,"reason":""`, "hollow": `"boots":false,"reason":"it has no kernel"`, "slow": `"boots":null,"reason":""`, "board": `"boots":null,"reason":""`,
	} {
		found := false
		for part := range strings.SplitSeq(lab.ok("bob", "image show --json"), `"fullname":`) {
			found = found || strings.HasPrefix(part, `"bob/`+name+`:latest"`) && strings.Contains(part, want)
		}
		if !found {
			t.Errorf("JSON does not tell %s of %s", want, name)
		}
	}
	for n := range 3 {
		ref, err := images.ParseName("bob", fmt.Sprintf("hollow-%d", n))
		lab.must(err)
		lab.addImage(images.Image{Ref: ref, Digest: digest(1), Models: []images.Model{"pc-x86-64"}})
	}
	if got := lab.run("bob", "image show", ""); got.stderr != "4 of them boot no machine; see why with: image inspect NAME\n" {
		t.Errorf("of many it says %q", got.stderr)
	}

	// What comes new is told of.
	for line, want := range map[string]string{
		"image clone walt:bob/hollow": "hollow boots no machine: it has no kernel.\n", "image clone walt:bob/good": "", "image load os": "os boots no machine: it has no modules.\n",
	} {
		got := lab.run("carol", line, archive)
		if got.status != StatusDone || strings.Contains(got.stderr, "boots no machine") != (want != "") || !strings.HasSuffix(got.stderr, want) {
			t.Errorf("%s: %+v, want %q", line, got, want)
		}
	}
}

func TestDescribeBoot(t *testing.T) {
	t.Parallel()
	lender, err := images.ParseRef("bob/kernel")
	if err != nil {
		t.Fatal(err)
	}
	missing := []nodes.Firmware{{Driver: "bnx2", File: "bnx2/a.fw"}, {Driver: "r8169", File: "rtl_nic/a.fw"}, {Driver: "r8169", File: "rtl_nic/b.fw"}}
	for _, c := range []struct {
		o       nodes.Outlook
		missing []nodes.Firmware
		want    string
	}{
		{nodes.Outlook{Model: "rpi-2-b", Why: "it is for PCs"}, nil, "boots: no rpi-2-b: it is for PCs"},
		{nodes.Outlook{Why: "it has no kernel"}, nil, "boots: no machine: it has no kernel"},
		{nodes.Outlook{Kernel: "6.1"}, nil, "boots: machines, with its kernel 6.1"},
		{nodes.Outlook{Kernel: "6.1", Lender: lender}, missing, "boots: machines, with the kernel 6.1 of walt:bob/kernel; no firmware: bnx2: bnx2/a.fw; no firmware: r8169: rtl_nic/a.fw, rtl_nic/b.fw"},
	} {
		img := images.Image{Models: []images.Model{"pc-x86-64"}}
		if c.o.Model != "" {
			img.Models = append(img.Models, c.o.Model)
		}
		var got []string
		for _, row := range describeBoot(img, c.o, c.missing) {
			got = append(got, strings.Join(row[:], ": "))
		}
		if got := strings.Join(got, "; "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// Whoever would take away the kernel that machines boot with is told, and asked.
func TestRemoveWhatLends(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	digest := func(n int) string { return fmt.Sprintf("sha256:%064d", n) }
	for n, name := range []string{"red", "bare"} {
		ref, err := images.ParseName("bob", name)
		lab.must(err)
		lab.addImage(images.Image{Ref: ref, Digest: digest(n), Models: []images.Model{"pc-x86-64"}})
	}
	_, err := lab.nodes.Register(t.Context(), "alice", nodes.Announcement{Name: "vm1", MAC: "52:54:00:00:02:01", Model: "pc-x86-64", Host: nodes.QEMU})
	lab.must(err)
	red, err := images.ParseName("bob", "red")
	lab.must(err)
	lab.nodes.Machines = bench{digest(0): {Kernel: "6.1"}, digest(1): {Kernel: "6.1", Lender: red}}
	lab.run("bob", "node boot vm1 bare", "") // nothing here runs it: it is to boot it
	const uses = "vm1 boots bob/bare with the kernel of red.\n"
	lab.tell([]step{
		{user: "bob", line: "image remove red", stdin: "n\n", status: StatusInUse, stderr: uses + "Remove red anyway? [y/N] \nwalt: not confirmed; nothing changed\n"},
		{
			user: "bob", line: "image rename red blue --no-input", status: StatusInUse,
			stderr: uses + "walt: not confirmed; nothing changed\n  --no-input never asks; --yes answers in advance (see: help show node-ownership)\n",
		},
		{user: "bob", line: "image rename red blue --yes", stdout: "red is now called blue\n"},
		{user: "bob", line: "image rename blue red", stdout: "blue is now called red\n"},
		{user: "bob", line: "image remove red", stdin: "y\n", stdout: "red is removed\n", stderr: uses + "Remove red anyway? [y/N] \n"},
	})
}

// So is whoever removes the user whose image that is, with what becomes of it.
func TestRemoveUserWhoseImageLends(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	digest := func(n int) string { return fmt.Sprintf("sha256:%064d", n) }
	for n, name := range []string{"bob/red", "carol/bare"} {
		ref, err := images.ParseRef(name)
		lab.must(err)
		lab.addImage(images.Image{Ref: ref, Digest: digest(n), Models: []images.Model{"pc-x86-64"}})
	}
	_, err := lab.nodes.Register(t.Context(), "alice", nodes.Announcement{Name: "vm1", MAC: "52:54:00:00:02:01", Model: "pc-x86-64", Host: nodes.QEMU})
	lab.must(err)
	red, err := images.ParseRef("bob/red")
	lab.must(err)
	lab.nodes.Machines = bench{digest(0): {Kernel: "6.1"}, digest(1): {Kernel: "6.1", Lender: red}}
	lab.run("carol", "node boot vm1 bare", "") // nothing here runs it: it is to boot it
	const uses = "vm1 boots carol/bare with the kernel of bob/red.\n"
	const refused = uses + "walt: not confirmed; nothing changed\n  --no-input never asks; --yes answers in advance (see: help show node-ownership)\n"
	lab.tell([]step{
		{user: "alice", line: "user remove bob --force", stdin: "n\n", status: StatusInUse, stderr: uses + "Remove bob anyway? [y/N] \nwalt: not confirmed; nothing changed\n"},
		{user: "alice", line: "user remove bob --force --no-input", status: StatusInUse, stderr: refused},
		{user: "alice", line: "user remove bob --heir carol --no-input", status: StatusInUse, stderr: refused},
		{user: "alice", line: "user remove bob --force", stdin: "y\n", stdout: "bob/red is deleted\nbob is removed\n", stderr: uses + "Remove bob anyway? [y/N] \n"},
	})
}
