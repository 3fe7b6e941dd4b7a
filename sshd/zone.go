package sshd

import (
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // where the system has none, as in a container
)

// zoneForm is the name of a zone in the time zone database.
var zoneForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// zoneCalled returns the zone that a client's TZ names, which may begin with a colon; empty
// it is UTC, as for programs of the client. It is nil for what the database does not have, as
// a rule of when clocks are set.
func zoneCalled(tz string) *time.Location {
	const longest = 64
	tz = strings.TrimPrefix(tz, ":")
	if tz == "" {
		return time.UTC
	}
	if len(tz) > longest || !zoneForm.MatchString(tz) || tz == "Local" {
		return nil
	}
	zone, err := time.LoadLocation(tz)
	if err != nil {
		return nil
	}
	return zone
}
