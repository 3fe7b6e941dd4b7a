package console

import (
	"cmp"
	"context"
	"errors"
	"os"
	"syscall"

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

// Break holds the line, see tty_ioctl(4).
func (d device) Break(ctx context.Context) error {
	set := func(request uint) error {
		c, err := d.SyscallConn()
		if err != nil {
			return err
		}
		return control(c, func(fd int) error { return unix.IoctlSetInt(fd, request, 0) })
	}
	if err := set(unix.TIOCSBRK); err != nil {
		return err
	}
	_ = pause.For(ctx, breakTime)
	return set(unix.TIOCCBRK)
}

// keepUrgent has urgent data of a socket come in its place, as the mark in telnet, which else
// would be missing behind its iac.
func keepUrgent(socket syscall.RawConn) error {
	return control(socket, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) })
}

// control does something with the descriptor of what is open.
func control(c syscall.RawConn, something func(fd int) error) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = something(int(fd)) })
	return cmp.Or(err, failed)
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
