package netboot

import (
	"testing"

	"walt/netboot/instructions"
)

// What a machine had written before it was lost is told in the unit of all other sizes.
func TestTrouble(t *testing.T) {
	t.Parallel()
	const size = 130 << 20
	for used, want := range map[int64]string{
		size:      "its memory for files was full (130 of 130 MiB)",
		size / 10: "",
	} {
		if got := trouble(instructions.Report{Used: used, Size: size}); got != want {
			t.Errorf("%d bytes: %q, want %q", used, got, want)
		}
	}
}
