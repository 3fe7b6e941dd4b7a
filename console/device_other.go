//go:build !linux

package console

import "errors"

// openDevice opens nothing here.
func openDevice(string, int) (wire, error) {
	return nil, errors.New("devices are opened on Linux only")
}
