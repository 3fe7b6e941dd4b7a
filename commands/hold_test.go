package commands

import (
	"strings"
	"testing"
	"time"

	"walt/auth"
	"walt/nodes"
)

// in returns a session of a user whose clock is that of a zone.
func (lab *testLab) in(user auth.Name, zone string) *Session {
	lab.t.Helper()
	loaded, err := time.LoadLocation(zone)
	lab.must(err)
	s := lab.session(user, "")
	s.Zone = loaded
	return s
}

// Who takes nodes says when they end, and is told when that is on the own clock.
func TestForAndUntil(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	for _, s := range []struct{ zone, line, want string }{
		{"UTC", "node acquire rpi-1 --for 2h", "rpi-1 is yours until 2026-11-22 14:00 UTC and boots"},
		{"UTC", "node boot rpi-1 rpi-3-b-default", "rpi-1 is yours until 2026-11-22 14:00 UTC and boots rpi-3-b-default already: left alone"},
		{"Europe/Paris", "node boot rpi-1 rpi-3-b-default --for 90s", "rpi-1 is yours until 2026-11-22 13:01:30 CET and boots"},
		{"Europe/Paris", "node boot rpi-1 rpi-3-b-default --until 18:00", "rpi-1 is yours until 2026-11-22 18:00 CET and boots"},
		{"Asia/Kathmandu", "node boot rpi-1 rpi-3-b-default --until 17:00", "rpi-1 is yours until 2026-11-23 17:00 +0545 and boots"},
		{"UTC", "node boot rpi-1 rpi-3-b-default --until never", "rpi-1 is yours and boots"},
		{"UTC", "node acquire --any 1 --model pc-x86-64 --until 2026-12-24", "pc-1 is yours until 2026-12-24 00:00 UTC and boots"},
		{"UTC", "node create n1 --until 2026-12-24T18:00+01:00", "n1 is yours until 2026-12-24 17:00 UTC and boots"},
	} {
		got := lab.runIn(t.Context(), lab.in("bob", s.zone), s.line)
		if !strings.HasPrefix(got.stdout, s.want) || got.status != StatusDone {
			t.Errorf("%s: %s: %+v, want %q", s.zone, s.line, got, s.want)
		}
	}
	got := lab.runIn(t.Context(), lab.in("bob", "Europe/Paris"), "node show").stdout
	for _, want := range []string{"UNTIL\n", "2026-12-24 01:00 CET\n", "2026-12-24 18:00 CET\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q in\n%s", want, got)
		}
	}
	if got := lab.ok("bob", "node show rpi-*"); strings.Contains(got, "UNTIL") {
		t.Errorf("no hold of these has an end:\n%s", got)
	}
	got = lab.ok("bob", "node show n1 --json")
	if !strings.Contains(got, `"until":"2026-12-24T17:00:00Z"`) {
		t.Errorf("as JSON it is %s", got)
	}
	got = lab.runIn(t.Context(), lab.in("bob", "UTC"), "node show n1").stdout
	if !strings.Contains(got, "\nuntil  2026-12-24 17:00 UTC (in 1 month)\n") {
		t.Errorf("it is\n%s", got)
	}
	if got := lab.ok("bob", "node acquire rpi-2 --for 1h --json"); !strings.Contains(got, `"until":"2026-11-22T13:00:00Z"`) {
		t.Errorf("as JSON it is %s", got)
	}
}

// What is no end is refused, and changes nothing.
func TestNoEnd(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	for line, want := range map[string]string{
		"node acquire rpi-1 --for 0":                   `"0" has no unit`,
		"node acquire rpi-1 --for 2":                   "\"2\" has no unit\n  it looks like 90s, 5m, 2h or 3d\n",
		"node acquire rpi-1 --for 0s":                  `"0s" is not a length of time`,
		"node acquire rpi-1 --for 18:00":               "did you mean --until 18:00?",
		"node acquire rpi-1 --for never":               "did you mean --until never?",
		"node acquire rpi-1 --until 18h":               "\"18h\" is a length of time, and no time\n  did you mean --for 18h?",
		"node acquire rpi-1 --until 18":                `"18" is no time`,
		"node extend rpi-2 --until 2h":                 "did you mean node extend rpi-2 2h?",
		"node extend rpi-2 2":                          `"2" has no unit`,
		"node extend rpi-2 18:00":                      "did you mean --until 18:00?",
		"node acquire rpi-1 --for -1h":                 `"-1h" is not a length of time`,
		"node acquire rpi-1 --for 11000d":              "more than 10 years away",
		"node acquire rpi-1 --for 99999999999d":        "is not a length of time",
		"node acquire rpi-1 --for ''":                  "is not a length of time",
		"node acquire rpi-1 --for 1h --until 18:00":    "--for D or --until T, not both",
		"node acquire rpi-1 --until 2026-11-22T11:59":  "2026-11-22 11:59 UTC is over\n  it is 2026-11-22 12:00 UTC now",
		"node acquire rpi-1 --until 2026-11-22T12:00Z": "is over",
		"node acquire rpi-1 --until 2099-01-01":        "more than 10 years away",
		"node acquire rpi-1 --until 25:00":             `"25:00" is no time`,
		"node acquire rpi-1 --until tomorrow":          "it looks like 18:00",
		"node acquire rpi-1 --until ''":                "is no time",
		"node boot rpi-1 default --for 1h":             "--for goes with an image of yours",
		"node boot rpi-1 default --while-connected":    "--while-connected goes with",
		"node boot rpi-1 default --note flash":         "--note goes with",
		"node boot rpi-1 default --job 8812":           "--job goes with",
		"node create n1 --until 2026-02-30":            "is no time",
		"node acquire --any 1 --for soon":              "is not a length of time",
	} {
		got := lab.runIn(t.Context(), lab.in("bob", "UTC"), line)
		if got.status != StatusUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v, want %q", line, got, want)
		}
	}
	if got := lab.ok("bob", "node show --names-only"); got != "" {
		t.Errorf("bob has %s", got)
	}
}

// A time of day is the next moment at which clocks show it, over midnight and when clocks
// are set.
func TestClockTime(t *testing.T) {
	t.Parallel()
	const forward, back = "2026-03-29", "2026-10-25" // of Berlin: 02:00 becomes 03:00, 03:00 becomes 02:00
	for _, s := range []struct{ zone, now, typed, want string }{
		{"UTC", "2026-11-27T17:59:00Z", "18:00", "2026-11-27T18:00:00Z"},
		{"UTC", "2026-11-27T18:00:00Z", "18:00", "2026-11-28T18:00:00Z"},
		{"UTC", "2026-12-31T19:00:00Z", "18:00:30", "2027-01-01T18:00:30Z"},
		{"America/New_York", "2026-11-27T23:00:00Z", "18:30", "2026-11-27T23:30:00Z"},
		{"Asia/Tokyo", "2026-11-27T16:00:00Z", "00:30", "2026-11-28T15:30:00Z"}, // where it is the 28th already
		{"Europe/Berlin", forward + "T00:30:00Z", "03:30", forward + "T01:30:00Z"},
		{"Europe/Berlin", forward + "T00:30:00Z", "02:30", "no clock shows 02:30 on 2026-03-29 in Europe/Berlin: they are set forward over it"},
		{"Europe/Berlin", "2026-03-28T20:00:00Z", "02:30", "no clock shows 02:30"},
		{"Europe/Berlin", "2026-03-28T20:00:00Z", forward + "T02:30", "no clock shows 02:30"},
		{"Europe/Berlin", forward + "T01:30:00Z", "02:30", "2026-03-30T00:30:00Z"}, // today's is over
		{"Europe/Berlin", "2026-10-24T20:00:00Z", "02:30", back + "T00:30:00Z"},    // the first of two
		{"Europe/Berlin", back + "T00:40:00Z", "02:30", back + "T01:30:00Z"},       // the second
		{"Europe/Berlin", back + "T00:40:00Z", back + "T02:30", back + "T01:30:00Z"},
		{"Europe/Berlin", back + "T00:10:00Z", back + "T02:30", back + "T00:30:00Z"},
		{"Europe/Berlin", back + "T00:10:00Z", back + "T02:30+01:00", back + "T01:30:00Z"},
		{"Europe/Berlin", back + "T01:40:00Z", "02:30", "2026-10-26T01:30:00Z"},
		{"Europe/Berlin", "2026-11-27T12:00:00Z", "2026-11-30", "2026-11-29T23:00:00Z"},
		{"Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-24", "no clock shows 00:00 on 2026-04-24"},
		{"UTC", "2026-11-27T12:00:00Z", "6pm", "is no time"},
	} {
		zone, err := time.LoadLocation(s.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, s.now)
		if err != nil {
			t.Fatal(err)
		}
		at, err := clockTime(s.typed, now, zone)
		got := at.UTC().Format(time.RFC3339)
		if err != nil {
			got = err.Error()
		}
		if got != s.want && (err == nil || !strings.Contains(got, s.want)) {
			t.Errorf("%s, %s: %s is %s, want %s", s.zone, s.now, s.typed, got, s.want)
		}
	}
}

// Owners set anew when their nodes are released, and are told before.
func TestExtend(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1,rpi-2 --for 1h")
	lab.ok("bob", "node acquire pc-1")
	lab.ok("carol", "node acquire rpi-10")
	for _, s := range []struct {
		line, stdout, stderr string
		status               int
	}{
		{"node extend rpi-1 1h", "rpi-1 is yours until 2026-11-22 14:00 UTC\n", "", StatusDone},
		{"node extend my-nodes 30m", "pc-1 is yours without an end\nrpi-1 is yours until 2026-11-22 14:30 UTC\nrpi-2 is yours until 2026-11-22 13:30 UTC\n", "", StatusDone},
		{"node extend rpi-1 --until 12:30", "rpi-1 is yours until 2026-11-22 12:30 UTC\n", "", StatusDone},
		{"node extend rpi-2 never", "rpi-2 is yours without an end\n", "", StatusDone},
		{"node extend pc-1 --until 2026-11-24T01:00", "pc-1 is yours until 2026-11-24 01:00 UTC\n", "", StatusDone},
		{"node extend rpi-1 1h --names-only", "rpi-1\n", "", StatusDone},
		{"node extend rpi-1", "", "for how long is missing", StatusUsage},
		{"node extend rpi-1 0", "", `"0" has no unit`, StatusUsage},
		{"node extend rpi-1 18:00", "", "is not a length of time", StatusUsage},
		{"node extend rpi-1 1h --until 18:00", "", "not both", StatusUsage},
		{"node extend rpi-1 --until 11:59Z", "", "is no time", StatusUsage},
		{"node extend rpi-10 1h", "", "not yours: rpi-10 (owned by carol); nothing changed\n  this is for who owns a node; see your own with: node show", StatusFailed},
	} {
		got := lab.runIn(t.Context(), lab.in("bob", "UTC"), s.line)
		if got.status != s.status || got.stdout != s.stdout || !strings.Contains(got.stderr, s.stderr) {
			t.Errorf("%s: %+v, want %+v", s.line, got, s)
		}
	}
	got := lab.ok("bob", "node extend rpi-1 1h --json")
	if !strings.Contains(got, `"name":"rpi-1"`) || !strings.Contains(got, `"changed":true`) || !strings.Contains(got, `"until":"2026-11-22T14:30:00Z"`) {
		t.Errorf("as JSON it is %s", got)
	}
	if got := lab.ok("bob", "log show --type sharing -n 1"); !strings.HasSuffix(got, "sharing bob rpi-1: held until 2026-11-22 14:30 UTC\n") {
		t.Errorf("the log has %s", got)
	}

	s := lab.in("bob", "Europe/Paris")
	for want, w := range map[string]nodes.Warning{
		"your hold of rpi-1 ends at 2026-11-22 13:15 CET, in 15 minutes; to go on: node extend rpi-1 1h":                   {Nodes: []string{"rpi-1"}, Until: noon.Add(15 * time.Minute)},
		"your holds of rpi-1, rpi-2 end at 2026-11-22 13:05 CET, in 5 minutes; to go on: node extend rpi-1,rpi-2 1h":       {Nodes: []string{"rpi-1", "rpi-2"}, Until: noon.Add(5 * time.Minute)},
		"your hold of rpi-1 ends at 2026-11-22 13:05 CET, in 5 minutes; carol waits for it, see: node queue":               {Nodes: []string{"rpi-1"}, Until: noon.Add(5 * time.Minute), Waits: []auth.Name{"carol"}},
		"your holds of rpi-1, rpi-2 end at 2026-11-22 13:05 CET, in 5 minutes; carol, dave wait for them, see: node queue": {Nodes: []string{"rpi-1", "rpi-2"}, Until: noon.Add(5 * time.Minute), Waits: []auth.Name{"carol", "dave"}},
	} {
		got := s.warning(noon, w)
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		_, hint, _ := strings.Cut(got, ": ")
		lab.ok("bob", "node boot rpi-1,rpi-2 rpi-3-b-default")
		lab.ok("bob", hint)
	}
}
