package commands

import (
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"walt/images"
)

// withRegistry gives the lab a registry lab that has a default image, and one
// that is down.
func withRegistry(t *testing.T) *testLab {
	t.Helper()
	lab := newTestLab(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	lab.must(err)
	server, err := images.ServeSamples(l, []images.Sample{{Models: []images.Model{"rpi-4-b"}, Created: noon, Files: map[string]string{"etc/motd": "hello\n"}}})
	lab.must(err)
	t.Cleanup(func() { server.Close() })
	lab.must(lab.app.Library.SetRegistries([]images.Registry{
		{Label: "lab", URL: "http://" + l.Addr().String()},
		{Label: "down", URL: "http://127.0.0.1:1", Username: "walt", Password: "s3same"},
	}))
	lab.ok("bob", "image show")
	return lab
}

func TestImageSearch(t *testing.T) {
	t.Parallel()
	lab := withRegistry(t)
	const missed = "down was not searched: registry down (http://127.0.0.1:1) cannot be reached: connection refused\n"
	bold := regexp.MustCompile(`\x1b\[\d*m`)
	sizes := regexp.MustCompile(`\d+ B  |"size":\d+`)
	search := func(s *Session, line string) answer {
		got := lab.runIn(t.Context(), s, line)
		got.stdout = sizes.ReplaceAllString(got.stdout, "SIZE")
		return got
	}
	got := search(lab.session("bob", ""), "image search RPI-4")
	want := answer{"LINK                              MODELS   SIZE   CREATED\nlab:waltplatform/rpi-4-b-default  rpi-4-b  SIZE2026-11-22\n", missed, StatusDone}
	if got != want {
		t.Errorf("a word:\n%+v\nwant\n%+v", got, want)
	}
	got = search(lab.session("bob", ""), "image search nothing --json")
	if want := (answer{`{"images":[]}` + "\n", missed, StatusDone}); got != want {
		t.Errorf("nothing, as JSON: %+v", got)
	}
	got = search(lab.session("bob", ""), "image search rpi-4-b-default:lat --json")
	if want := `{"images":[{"link":"lab:waltplatform/rpi-4-b-default","models":["rpi-4-b"],SIZE,"created":"2026-11-22T12:00:00Z"}]}` + "\n"; got.stdout != want {
		t.Errorf("a tag, as JSON: %s", got.stdout)
	}
	got = lab.run("bob", "image search", "")
	for _, link := range []string{"lab:waltplatform/rpi-4-b-default", "walt:waltplatform/rpi-3-b-default"} {
		if !strings.Contains(got.stdout, link+" ") {
			t.Errorf("%s is not in\n%s", link, got.stdout)
		}
	}
	if strings.Contains(got.stdout, "bob/") {
		t.Errorf("one's own is in\n%s", got.stdout)
	}
	got = lab.runIn(t.Context(), lab.terminal("bob"), "image search rpi")
	if lines := strings.Split(bold.ReplaceAllString(got.stdout, ""), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "LINK ") || strings.Index(lines[0], "MODELS") != strings.Index(lines[1], "rpi-3-b ") {
		t.Errorf("on a terminal:\n%s", got.stdout)
	}
	for _, width := range []int{80, 40} {
		shown := lab.runIn(t.Context(), lab.narrow(width), "image search rpi").stdout
		for line := range strings.Lines(shown) {
			if cellsOf(bold.ReplaceAllString(strings.TrimSuffix(line, "\n"), "")) > width {
				t.Errorf("a line is longer than %d:\n%s", width, shown)
			}
		}
	}
}

// From a registry into the working set, under other names, and back.
func TestImageTravels(t *testing.T) {
	t.Parallel()
	lab := withRegistry(t)
	const from = "lab:waltplatform/rpi-4-b-default"
	got := lab.run("bob", "image clone "+from, "")
	if got.stdout != "rpi-4-b-default is a clone of "+from+"\n" || !strings.HasPrefix(got.stderr, from+": sha256:") {
		t.Fatalf("clone: %+v", got)
	}
	lab.tell([]step{
		{user: "bob", line: "image clone " + from + " again", stdout: "again is a clone of " + from + "\n"},
		{
			user: "bob", line: "image clone " + from + " again", status: StatusFailed,
			stderr: "walt: you have an image again already\n  overwrite it with: image clone --force " + from + " again\n",
		},
		{user: "bob", line: "image rename again it:v1", stdout: "again is now called it:v1\n"},
		{user: "bob", line: "image duplicate it:v1 copy", stdout: "copy has the content of it:v1\n"},
		{user: "bob", line: "image remove rpi-4-b-default", stdout: "rpi-4-b-default is removed\n"},
		{user: "bob", line: "image publish it:v1 --registry lba", status: StatusFailed, stderr: "walt: unknown registry lba\n  did you mean lab instead of lba?\n"},
		{
			user: "bob", line: "image clone lba:ann/tool", status: StatusFailed,
			stderr: "walt: unknown image location lba\n  did you mean lab instead of lba?\n  the locations are: walt, lab, down\n",
		},
		{
			user: "bob", line: "image clone lab:ann/tool", status: StatusFailed,
			stderr: "walt: the image lab:ann/tool cannot be downloaded: " + lab.registry() + " does not have it\n  see what there is with: image search\n",
		},
		{
			user: "bob", line: "image clone lab:ann/" + strings.Repeat("a", 80), status: StatusFailed,
			stderr: strings.Repeat("a", 80) + " is no valid name here: the clone is called " + strings.Repeat("a", 63) + ".\n" +
				"walt: the image lab:ann/" + strings.Repeat("a", 80) + " cannot be downloaded: " + lab.registry() + " does not have it\n  see what there is with: image search\n",
		},
	})
	if got := lab.run("bob", "image publish copy", ""); got.stdout != "lab:bob/copy\n" {
		t.Errorf("publish: %+v", got)
	}
	inspected := lab.ok("bob", "image inspect copy")
	for _, want := range []string{"name         copy\n", "shared with  it:v1\n", "models       rpi-4-b\n", "label        walt.node.models=rpi-4-b\n"} {
		if !strings.Contains(inspected, want) {
			t.Errorf("%q is not in\n%s", want, inspected)
		}
	}
	narrow := lab.runIn(t.Context(), lab.narrow(40), "image inspect copy").stdout
	for _, want := range []string{"name         copy\n", "digest\n             sha256:", "shared with  it:v1\n", "label        walt.node.models=rpi-4-b\n"} {
		if !strings.Contains(narrow, want) {
			t.Errorf("in 40 columns %q is not in\n%s", want, narrow)
		}
	}
	if got := lab.ok("carol", "image clone lab:bob/copy"); got != "copy is a clone of lab:bob/copy\n" {
		t.Errorf("what was published is cloned: %s", got)
	}
	if _, words := lab.app.Complete(t.Context(), lab.session("bob", ""), "image publish copy --registry "); strings.Join(words, " ") != "lab down" && strings.Join(words, " ") != "down lab" {
		t.Errorf("registries are completed with %v", words)
	}
	lab.pass(2 * time.Hour)
	if log := lab.ok("bob", "log show --history 1d"); strings.Contains(log, "s3same") || strings.Contains(lab.serverLog.String(), "s3same") {
		t.Errorf("a password is in a log:\n%s%s", log, lab.serverLog)
	}
}

// registry is what messages call the registry lab.
func (lab *testLab) registry() string {
	lab.t.Helper()
	got := lab.run("bob", "image clone lab:no/such x", "").stderr
	_, rest, _ := strings.Cut(got, "cannot be downloaded: ")
	name, _, _ := strings.Cut(rest, " does not")
	return name
}
