//go:build linux

package main

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uptime is how many seconds ago the kernel started.
func uptime() float64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano()).Seconds()
}

// disciplined reports whether something on the machine keeps the clock right by itself,
// as an NTP client does.
func disciplined() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

// tolerance is how wrong the clock may be before it is set.
const tolerance = 500 * time.Millisecond

// setClock sets the clock if it is wrong by more than a tolerance, and says by how much
// it was.
func setClock(to time.Time, tolerance time.Duration) (wrong time.Duration, err error) {
	if to.IsZero() {
		return 0, nil
	}
	wrong = time.Since(to.Round(0)) // not by the monotonic clock, which the server does not have
	if wrong.Abs() < tolerance {
		return 0, nil
	}
	tv := unix.NsecToTimeval(to.UnixNano())
	return wrong, unix.Settimeofday(&tv)
}

// seed stirs bytes into the kernel's random numbers, and counts them as random: they
// came from the server, for this machine and this boot.
func seed(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	b = b[:min(len(b), 512)]
	var pool struct {
		bits, size int32
		buf        [512]byte
	}
	pool.bits, pool.size = int32(len(b)*8), int32(len(b))
	copy(pool.buf[:], b)
	fd, err := unix.Open("/dev/urandom", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&pool))); errno != 0 {
		return errno
	}
	return nil
}
