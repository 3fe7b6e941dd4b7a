//go:build !linux

package console

import (
	"errors"
	"syscall"
)

// openDevice opens nothing here.
func openDevice(string, int) (wire, error) {
	return nil, errors.New("devices are opened on Linux only")
}

// keepUrgent does nothing here.
func keepUrgent(syscall.RawConn) error { return nil }
