package api

import (
	"encoding/json"
	"testing"
	"time"

	"walt/images"
	"walt/nodes"
	"walt/power"
)

// The documents that the tests of the commands do not show to the letter.
func TestDocuments(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	mine := images.Ref{User: "bob", Name: "mine", Tag: "latest"}
	img := images.Image{Ref: mine, Digest: "sha256:beef", Models: []images.Model{"rpi-3-b"}, Created: created, Size: 12}
	for what, c := range map[string]struct {
		doc  any
		want string
	}{
		"a reboot that failed": {
			NewChanges(nodes.Result{Changes: []nodes.Change{{
				Node: "rpi-1", Image: mine, Previous: "carol", Changed: true,
				Reboot: nodes.Reboot{Outcome: nodes.RebootFailed, Reason: "switch sw-1 refuses"},
			}}}),
			`{"cloned":[],"nodes":[{"name":"rpi-1","owner":"bob","image":"bob/mine:latest","previous_owner":"carol","changed":true,` +
				`"reboot":"switch sw-1 refuses","reboot_reason":"switch sw-1 refuses"}]}`,
		},
		"the detail of an image": {
			NewImageDetail(img, true, images.Detail{
				Layers: []images.Layer{{Digest: "sha256:aa", Size: 10}}, Labels: map[string]string{"walt.node.models": "rpi-3-b"},
				History: []string{"FROM scratch"}, Architecture: "arm64", OS: "linux", Unfit: img.Models,
			}, []images.Image{{Ref: images.DefaultRef("rpi-3-b")}}, map[images.Ref]nodes.Outlook{img.Ref: {Kernel: "6.1", Lender: images.DefaultRef("rpi-3-b")}},
				[]nodes.Firmware{{Driver: "r8169", File: "rtl_nic/a.fw"}}),
			`{"fullname":"bob/mine:latest","user":"bob","name":"mine","models":["rpi-3-b"],"in_use":true,"created":"2026-11-20T12:00:00Z",` +
				`"digest":"sha256:beef","size":12,"unfit":["rpi-3-b"],"boots":true,"reason":"","architecture":"arm64","os":"linux","layers":[{"digest":"sha256:aa","size":10}],` +
				`"labels":{"walt.node.models":"rpi-3-b"},"history":["FROM scratch"],"shared_with":["waltplatform/rpi-3-b-default:latest"],` +
				`"kernel":"6.1","kernel_from":"waltplatform/rpi-3-b-default:latest","firmware":[{"driver":"r8169","file":"rtl_nic/a.fw","large":false}]}`,
		},
		"what a search found": {
			NewFoundImages([]images.Match{{Link: images.Link{Location: "lab", Ref: mine}, Models: img.Models, Size: 7, Created: created, Digest: "sha256:beef"}}),
			`{"images":[{"link":"lab:bob/mine","models":["rpi-3-b"],"size":7,"created":"2026-11-20T12:00:00Z"}]}`,
		},
		"the server": {
			ServerDevice("192.0.2.1", ""),
			`{"name":"server","type":"server","model":null,"mac":null,"ip":"192.0.2.1","state":"up","state_reason":null,"switch":null,"port":null,"port_name":null,"step":null,"step_since":null,"reports_itself_as":null,"tags":[],"retired":null}`,
		},
	} {
		got, err := json.Marshal(c.doc)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, c.want)
		}
	}
}

// Lists without anything in them are lists all the same.
func TestEmptyDocuments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		doc  any
		want string
	}{
		{NewChanges(nodes.Result{}), `{"cloned":[],"nodes":[]}`},
		{NewImages(nil, nil, nil, nil), `{"images":[]}`},
		{NewFoundImages(nil), `{"images":[]}`},
		{NewPower(power.Report{}), `{"ports":[],"saved_port_hours":0}`},
		{NewUsers(nil, time.Time{}), `{"users":[]}`},
		{NewJobs(nil), `{"jobs":[]}`},
	} {
		if got, err := json.Marshal(c.doc); err != nil || string(got) != c.want {
			t.Errorf("%T: %s (%v), want %s", c.doc, got, err, c.want)
		}
	}
}

// Lengths of time are seconds with three digits, and no more.
func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0", 1527 * time.Millisecond: "1.527", 2844999999: "2.845", 14241 * time.Millisecond: "14.241", time.Hour: "3600"} {
		if b, err := json.Marshal(seconds(d)); err != nil || string(b) != want {
			t.Errorf("%v is %s, %v; want %s", d, b, err, want)
		}
	}
}
