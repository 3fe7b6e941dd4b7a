package commands

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"walt/fault"
)

// minute is a moment for people.
func minute(t time.Time) string {
	if undated(t) {
		return "at an unknown date"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// day is a date for people; "-" is not known.
func day(t time.Time) string {
	if undated(t) {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

// undated reports whether a time says nothing: builders who want the same image
// from the same source leave it out, or set it to the first second of 1970.
func undated(t time.Time) bool { return t.Unix() <= 0 }

// ago is a past instant for people, as in "5 minutes ago".
func ago(now, t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case now.Sub(t) < time.Minute:
		return "just now"
	}
	return humanize.RelTime(t, now, "ago", "")
}

// duration parses a positive length of time, as in 90s, 5m, 2h or 3d; a number
// alone is seconds.
func duration(what, s string) (time.Duration, error) {
	text, unit := s, time.Duration(1)
	if _, err := strconv.ParseUint(s, 10, 63); err == nil {
		text += "s"
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		text, unit = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > math.MaxInt64/unit {
		return 0, fault.Usagef("%s: %q is not a length of time", what, s).WithHint("it looks like 90s, 5m, 2h or 3d")
	}
	return d * unit, nil
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// size is a number of bytes for people, in binary units.
func size(n int64) string { return humanize.IBytes(uint64(n)) }

// count is a number of things, as in "1 file" and "2 files".
func count(n int, thing string) string { return english.Plural(n, thing, "") }

// shortDigest is the beginning of a digest, enough to tell it from others.
func shortDigest(d string) string {
	const enough = len("sha256:") + 12
	return d[:min(len(d), enough)]
}
