package console

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"walt/pause"
)

// openDevice opens the serial line of a device, without a change of what goes over it.
func openDevice(name string, speed int) (wire, error) {
	// Without O_NONBLOCK that would wait for a carrier, and no read would end.
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	if err := makeRaw(fd, speed); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return device{os.NewFile(uintptr(fd), name)}, nil
}

// device is an open serial device of the server.
type device struct{ *os.File }

// breakTime is for how long a line is held: longer than any character takes, at 50 baud, too.
const breakTime = 250 * time.Millisecond

// Break holds the line, see tty_ioctl(4).
func (d device) Break(ctx context.Context) error {
	set := func(request uint) error {
		c, err := d.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = c.Control(func(fd uintptr) { failed = unix.IoctlSetInt(int(fd), request, 0) })
		return cmp.Or(err, failed)
	}
	if err := set(unix.TIOCSBRK); err != nil {
		return err
	}
	_ = pause.For(ctx, breakTime)
	return set(unix.TIOCCBRK)
}

// makeRaw has a terminal device pass on bytes as they are, 8 bits without parity and flow
// control, see termios(3). Closing it does not hang up: many boards take that for a reset.
func makeRaw(fd, speed int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return errors.New("it is no serial line")
	}
	t.Iflag, t.Oflag, t.Lflag = unix.IGNBRK, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.BOTHER
	t.Ispeed, t.Ospeed = uint32(speed), uint32(speed)
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS2, t)
}
