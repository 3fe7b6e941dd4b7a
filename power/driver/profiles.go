package driver

import (
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"walt/fault"
)

// Profiles are what a kind knows of devices, by name, as its file says, in TOML.
func Profiles[T any](file []byte) (all map[string]T, err error) {
	err = toml.Unmarshal(file, &all)
	return all, err
}

// ParseProfile returns the one of that name; a fault names them all.
func ParseProfile[T any](file []byte, name string) (p T, err error) {
	all, err := Profiles[T](file)
	if err != nil {
		return p, err
	}
	p, known := all[name]
	if !known {
		return p, fault.Failedf("%q is no profile; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", ")).
			WithHint("see: help show power")
	}
	return p, nil
}
