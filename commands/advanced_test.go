package commands

import (
	"strings"
	"testing"

	"walt/images"
)

// testJobs looks at the job of a download that failed once, stops it, and has it
// tried again.
func (lab *testLab) testJobs() {
	lab.t.Helper()
	const reason = "the image waltplatform/esp-32-default cannot be downloaded: no registry is configured"
	lab.tell([]step{
		{
			user: "bob", line: "advanced jobs",
			stdout: "ID              WHAT                         FOR      STATE\n" +
				"default-esp-32  waltplatform/esp-32-default  (nodes)  failed 1 time, next try in 41s\n\n" +
				"ID              LAST ERROR\ndefault-esp-32  " + reason + "\n",
		},
		{
			user: "bob", line: "advanced jobs cancel default-esp-23", status: StatusFailed,
			stderr: "walt: unknown job default-esp-23\n  did you mean default-esp-32 instead of default-esp-23?\n",
		},
		{user: "bob", line: "advanced jobs cancel default-esp-32", stdout: "default-esp-32 is stopped\n"},
		{
			user: "bob", line: "advanced jobs --json",
			stdout: `{"jobs":[{"id":"default-esp-32","what":"waltplatform/esp-32-default","user":null,"state":"stopped","done":0,"total":0,` +
				`"tries":1,"next":null,"error":"` + reason + `"}]}` + "\n",
		},
		{
			user: "bob", line: "device show esp-1",
			stdout: "NAME   TYPE     MODEL   MAC                IP  SWITCH  PORT  STATE\n" +
				"esp-1  unknown  esp-32  52:54:00:00:00:77  -   -       -     download of waltplatform/esp-32-default: failed 1 time, stopped until: advanced jobs retry default-esp-32 (see: advanced jobs)\n",
		},
		{user: "bob", line: "advanced jobs retry default-esp-32", stdout: "default-esp-32 is tried now\n"},
		{user: "bob", line: "advanced jobs cancel default-esp-32", stdout: "default-esp-32 is stopped\n"},
		{user: "bob", line: "advanced jobs retry default-esp-32", stdout: "default-esp-32 is tried now\n"},
	})
	if got := lab.ok("bob", "log show"); !strings.Contains(got, "bob: waltplatform/esp-32-default: stopped") ||
		!strings.Contains(got, "bob: waltplatform/esp-32-default: to be tried now") {
		lab.t.Errorf("the log tells:\n%s", got)
	}
}

func TestProgressOf(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	c := &Call{App: lab.app}
	for want, j := range map[string]images.Job{
		"running":         {Running: true, Tries: 3},
		"50 % of 3.0 KiB": {Running: true, Done: 1536, Total: 3072},
		"failed 2 times, stopped until: advanced jobs retry x": {ID: "x", Stopped: true, Tries: 2},
		"about to begin": {},
	} {
		if got := c.progressOf(j); got != want {
			t.Errorf("%+v: %q, want %q", j, got, want)
		}
	}
}

func TestUpdateDefaultImages(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.addImage(images.Image{
		Ref:    images.Ref{User: "waltplatform", Name: "rpi-3-b-default", Tag: "20260101"},
		Models: []images.Model{"rpi-3-b"}, Digest: "sha256:" + strings.Repeat("1", 64),
	})
	const left = " is free and boots its default image at its next start: the server has no means to reboot it\n"
	lab.tell([]step{
		{
			user: "bob", line: "advanced update-default-images",
			stdout: "pc-x86-64-default: nothing newer than the present one, created 2026-11-20 12:00\n" +
				"rpi-3-b-default: nothing newer than the present one, created 2026-11-20 12:00\n",
		},
		{
			user: "bob", line: "advanced update-default-images --put-back rpi-3-b-default",
			stdout: "rpi-3-b-default is again the version created 2026-11-20 12:00; the other is kept\n" +
				"rpi-1" + left + "rpi-2" + left + "rpi-10" + left,
		},
		{
			user: "bob", line: "advanced update-default-images --put-back pc-x86-64-default", status: StatusFailed,
			stderr: "walt: no update replaced pc-x86-64-default: there is nothing to put back\n",
		},
		{
			user: "bob", line: "advanced update-default-images --retry --put-back rpi-3-b-default", status: StatusUsage,
			stderr: "walt: advanced update-default-images: --retry and --put-back do not go together\n" +
				"  usage: advanced update-default-images [--dry-run] [--put-back NAME] [--retry] [--yes] [--no-input]\n",
		},
		{
			user: "bob", line: "advanced update-default-images --dry-run --put-back rpi-3-b-default", status: StatusUsage,
			stderr: "walt: advanced update-default-images: --dry-run and --put-back do not go together\n" +
				"  usage: advanced update-default-images [--dry-run] [--put-back NAME] [--retry] [--yes] [--no-input]\n",
		},
		{user: "bob", line: "advanced gc --dry-run", stdout: "0 B in 0 files would be freed\n"},
		{user: "bob", line: "advanced jobs", stderr: "Nothing is being transferred, and nothing waits for it.\n"},
	})
	if _, words := lab.app.Complete(t.Context(), lab.session("bob", ""), "advanced update-default-images --put-back "); len(words) != 1 || words[0] != "rpi-3-b-default" {
		t.Errorf("--put-back is completed with %v", words)
	}
}

// Who has no images yet sees what is on its way.
func TestImageShowWhileTheFirstIsDownloaded(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("alice", "node remove pc-1")
	lab.ok("alice", "device forget rpi-*")
	lab.ok("alice", "device add esp-1 --mac 52:54:00:00:00:77 --model esp-32")
	if got := lab.run("bob", "image show", "").stderr; !strings.Contains(got, "waltplatform/esp-32-default: about to begin (see: advanced jobs)\n") {
		t.Errorf("bob is told:\n%s", got)
	}
}
