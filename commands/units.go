package commands

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"walt/fault"
)

// minute is a moment for people.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// ago is a past instant for people, as in "5 min ago".
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/(24*time.Hour))
	}
}

// duration parses a positive length of time, as in 90s, 5m, 2h or 3d.
func duration(what, s string) (time.Duration, error) {
	text, unit := s, time.Duration(1)
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

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// size is a number of bytes for people, in binary units.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, unit := float64(n), 0
	for v >= 1024 && unit < len(units)-1 {
		v /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}

// count is a number of things, as in "1 file" and "2 files".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// shortDigest is the beginning of a digest, enough to tell it from others.
func shortDigest(d string) string {
	const enough = len("sha256:") + 12
	return d[:min(len(d), enough)]
}
