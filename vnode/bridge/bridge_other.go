//go:build !linux

package bridge

import (
	"os"

	"walt/ethernet"
	"walt/fault"
)

// Able returns why no machine can be connected to the bridge.
func (Name) Able() error { return fault.Failedf("machines are on a bridge on Linux alone") }

// Connect fails for the same reason.
func (b Name) Connect(ethernet.MAC) (*os.File, error) { return nil, b.Able() }

// Reconnect does so, too.
func (b Name) Reconnect(ethernet.MAC) error { return b.Able() }
