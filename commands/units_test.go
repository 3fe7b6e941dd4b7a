package commands

import (
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536 << 10: "1.5 MiB", 5 << 40: "5.0 TiB", 123456789: "118 MiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 59 * time.Minute: "59 minutes ago",
		time.Hour: "1 hour ago", 23 * time.Hour: "23 hours ago", 48 * time.Hour: "2 days ago", 1000 * time.Hour: "1 month ago",
	} {
		if got := ago(noon, noon.Add(-d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := ago(noon, time.Time{}); got != "-" {
		t.Errorf("never: %q", got)
	}
}

// Texts that are made once for many instants are those that each of them has alone.
func TestAges(t *testing.T) {
	t.Parallel()
	text := ages(noon)
	check := func(at time.Time) {
		t.Helper()
		if got, want := text(at), ago(noon, at); got != want {
			t.Errorf("%v: %q, want %q", noon.Sub(at), got, want)
		}
	}
	check(time.Time{})
	for age := -3 * time.Hour; age < 40*365*24*time.Hour; age += max(29*time.Second, age/997) {
		check(noon.Add(-age))
	}
	const day = 24 * time.Hour
	for _, bound := range []time.Duration{0, time.Minute, 2 * time.Minute, time.Hour, 2 * time.Hour, day, 2 * day, 7 * day, 14 * day, 30 * day, 60 * day, 360 * day, 540 * day, 720 * day, 37 * 360 * day} {
		for d := -2 * time.Second; d <= 2*time.Second; d += time.Second / 2 {
			check(noon.Add(-bound - d))
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "5m": 5 * time.Minute, "2h30m": 150 * time.Minute, "3d": 72 * time.Hour, "1.5d": 36 * time.Hour,
		"": 0, "d": 0, "5": 5 * time.Second, "-5m": 0, "-5": 0, "0s": 0, "soon": 0, "99999999d": 0, "9999999999h": 0,
	} {
		got, err := duration("--timeout", s)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"1 file": count(1, "file"), "0 files": count(0, "file"), "2 MAC addresses": count(2, "MAC address"), "1 MAC address": count(1, "MAC address"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
