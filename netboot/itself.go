package netboot

import (
	"slices"
	"strings"

	"walt/images"
)

// boardModel is the model of a Raspberry Pi by what the device tree calls it, as rpi-4-b of
// Raspberry Pi 4 Model B Rev 1.4, or rpi-cm-4 of a Compute Module 4; "" of other boards.
func boardModel(name string) images.Model {
	kind, is := strings.CutPrefix(name, "Raspberry Pi ")
	if !is {
		return ""
	}
	kind, _, _ = strings.Cut(kind, " Rev ")
	kind = strings.ReplaceAll(strings.ToLower(kind), "compute module", "cm")
	words := slices.DeleteFunc(strings.Fields(kind), func(w string) bool { return w == "model" })
	m, err := images.ParseModel("rpi-" + strings.Join(words, "-"))
	if err != nil || len(words) == 0 {
		return ""
	}
	return m
}
