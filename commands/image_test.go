package commands

import (
	"context"
	"strings"
	"testing"

	"walt/fault"
	"walt/images"
	"walt/state"
)

const seededNote = "Your working set was empty: the default images of the nodes here were cloned into it as pc-x86-64-default, rpi-3-b-default.\n"

func TestImageShow(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("carol", "node acquire rpi-1,rpi-2")
	lab.tell([]step{
		{
			user: "bob", line: "image show", stderr: seededNote,
			stdout: "NAME               IN USE  CREATED     MODELS\n" +
				"pc-x86-64-default  -       2026-11-20  pc-x86-64\n" +
				"rpi-3-b-default    -       2026-11-20  rpi-3-b\n",
		},
		{user: "bob", line: "node boot pc-1 pc-x86-64-default", stdout: "pc-1 is yours and boots pc-x86-64-default: rebooting\n"},
		{
			user: "bob", line: "image show --all",
			stdout: "NAME                                 IN USE   CREATED     MODELS\n" +
				"pc-x86-64-default                    1 node   2026-11-20  pc-x86-64\n" +
				"rpi-3-b-default                      -        2026-11-20  rpi-3-b\n" +
				"walt:carol/rpi-3-b-default           2 nodes  2026-11-20  rpi-3-b\n" +
				"walt:waltplatform/pc-x86-64-default  -        2026-11-20  pc-x86-64\n" +
				"walt:waltplatform/rpi-3-b-default    1 node   2026-11-20  rpi-3-b\n",
		},
		{user: "carol", line: "image show --names-only", stdout: "rpi-3-b-default\n"},
		{
			user: "carol", line: "image show --json",
			stdout: `{"images":[{"fullname":"carol/rpi-3-b-default:latest","user":"carol","name":"rpi-3-b-default","models":["rpi-3-b"],"in_use":true,` +
				`"created":"2026-11-20T12:00:00Z","digest":"sha256:` + strings.Repeat("0", 60) + `beef","size":1234567,"unfit":[],"boots":null,"reason":""}]}` + "\n",
		},
	})
}

func TestImageClone(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.addImage(images.Image{Ref: images.Ref{User: "carol", Name: "debian", Tag: "v2"}, Models: []images.Model{"rpi-3-b"}, Digest: "sha256:" + strings.Repeat("2", 64)})
	lab.tell([]step{
		{user: "bob", line: "image clone walt:carol/debian:v2", stdout: "debian:v2 is a clone of walt:carol/debian:v2\n", stderr: seededNote},
		{user: "bob", line: "image clone walt:carol/debian:v2 mine", stdout: "mine is a clone of walt:carol/debian:v2\n"},
		{
			user: "bob", line: "image clone walt:waltplatform/rpi-3-b-default mine", status: StatusFailed,
			stderr: "walt: you have an image mine already\n  overwrite it with: image clone --force walt:waltplatform/rpi-3-b-default mine\n",
		},
		{
			user: "bob", line: "image clone walt:carol/debain:v2", status: StatusFailed,
			stderr: "walt: unknown image carol/debain:v2\n  did you mean carol/debian:v2 or bob/debian:v2 instead of carol/debain:v2?\n",
		},
		{
			user: "bob", line: "image clone walt:bob/mine", status: StatusFailed,
			stderr: "walt: walt:bob/mine is your image mine already; nothing changed\n  copy it under a second name with: image duplicate mine NEW\n",
		},
		{
			user: "bob", line: "image clone walt:bob/minus", status: StatusFailed,
			stderr: "walt: unknown image minus\n  see your images with: image show\n",
		},
		{
			user: "bob", line: "image clone hub:carol/debian", status: StatusFailed,
			stderr: "walt: unknown image location hub\n  the locations are: walt\n",
		},
	})
}

// Overwriting an image reboots the nodes that boot it, and that is asked first.
func TestImageOverwrite(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.addImage(images.Image{Ref: images.Ref{User: "carol", Name: "debian", Tag: "latest"}, Models: []images.Model{"pc-x86-64"}, Digest: "sha256:" + strings.Repeat("2", 64)})
	lab.ok("bob", "image show")
	lab.ok("bob", "node acquire pc-1,rpi-1")
	const question = "pc-1 boots this image.\nOverwrite pc-x86-64-default and reboot pc-1 anyway? [y/N] \n"
	lab.tell([]step{
		{
			user: "bob", line: "image clone --force walt:carol/debian rpi-3-b-default", status: StatusFailed,
			stderr: "walt: rpi-3-b-default is booted by rpi-1, and the new content is only for pc-x86-64; nothing changed\n" +
				"  clone it under another name, or free what boots it: node release rpi-1\n",
		},
		{user: "bob", line: "image clone --force walt:carol/debian pc-x86-64-default", stdin: "n\n", stderr: question + notDone, status: StatusInUse},
		{
			user: "bob", line: "image clone --force walt:carol/debian pc-x86-64-default", stdin: "y\n", stderr: question,
			stdout: "pc-x86-64-default is a clone of walt:carol/debian\npc-1 is yours and boots pc-x86-64-default: rebooting\n",
		},
		// The same content again disturbs nobody.
		{user: "bob", line: "image clone --force walt:carol/debian pc-x86-64-default", stdout: "pc-x86-64-default is a clone of walt:carol/debian\n"},
	})
}

// fullStore is a store on a full disk.
type fullStore struct{ state.Store }

func (fullStore) Update(context.Context, func(state.Tx) error) (state.Version, error) {
	return 0, fault.Failedf("the disk is full")
}

// Looking at one's images needs no room on the disk, also the first time.
func TestImageShowOnAFullDisk(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.app.Images.Store = fullStore{lab.app.Images.Store}
	const why = "You have no images yet, and the first ones cannot be made: the disk is full.\n"
	lab.tell([]step{
		{user: "bob", line: "image show --json", stdout: `{"images":[]}` + "\n", stderr: why},
		{user: "bob", line: "image show --names-only", stderr: why},
	})
}

func TestNoImages(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("alice", "node remove pc-1")
	lab.ok("alice", "device forget rpi-*")
	lab.tell([]step{
		{
			user: "bob", line: "image show",
			stderr: "You have no images, and there are no default ones yet: they come with the first nodes (see: help show images).\n",
		},
		{user: "bob", line: "image show --json", stdout: `{"images":[]}` + "\n"},
		{user: "bob", line: "node show --all", stderr: "There are no nodes yet. Add one with: device add NAME --mac MAC --model MODEL, or node create NAME\n"},
	})
}
