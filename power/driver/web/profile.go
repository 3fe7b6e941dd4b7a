package web

import (
	_ "embed"

	"walt/power/driver"
)

// Profile is what is said to devices of a kind, and how they answer.
type Profile struct {
	Devices string `toml:"devices"` // what it fits, for people
	// Requests: METHOD URL [BODY], where {host}, {port}, {user} and {password} stand for
	// what they say.
	On     string `toml:"on"`
	Off    string `toml:"off"`
	Status string `toml:"status"` // "" where the device does not tell
	// Regular expressions of which one fits the answer to Status, of an outlet that is on, or
	// off; {port} stands for the outlet.
	IsOn    string   `toml:"is_on"`
	IsOff   string   `toml:"is_off"`
	Headers []string `toml:"headers"` // NAME: VALUE, of all requests; as in them {user} and {password}
}

//go:embed profiles.toml
var profiles []byte

// Profiles are those that the server knows, by name.
func Profiles() (map[string]Profile, error) { return driver.Profiles[Profile](profiles) }

// ParseProfile returns one that the server knows; a fault names them all.
func ParseProfile(name string) (Profile, error) { return driver.ParseProfile[Profile](profiles, name) }
