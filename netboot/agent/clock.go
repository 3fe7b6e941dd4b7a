//go:build linux

package main

import (
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// since is how long ago the kernel started.
func since() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// uptime is the same in seconds.
func uptime() float64 { return since().Seconds() }

// disciplined reports whether something on the machine says that it keeps the clock right
// by itself, as an NTP client does. Who sets the clock takes that back.
func disciplined() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

const (
	// tolerance is how wrong the clock may be before it is set.
	tolerance = 500 * time.Millisecond
	// distrust is how wrong it may be while something says that it keeps it right.
	distrust = time.Second
	// mostDisputes is how often it is set all the same. What then sets it wrong again is
	// there, and knows another time.
	mostDisputes = 3
	// noteEvery is how often it is noted at most that it was set.
	noteEvery = time.Minute
)

// clock keeps the clock of the machine as the server's is.
type clock struct {
	log *record

	mu       sync.Mutex
	known    bool
	ahead    time.Duration // of the kernel's start, when the clock is right and known
	disputes int
	noted    time.Duration // after the kernel's start
}

// told is called with what time it was, on average, and how long the answer took.
func (c *clock) told(at time.Time, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sets(wrongBy(at), took, disciplined()) {
		c.set(at)
	}
	c.ahead, c.known = time.Duration(time.Now().UnixNano())-since(), true
}

// sets reports whether a clock that is wrong is to be set.
func (c *clock) sets(wrong, took time.Duration, disciplined bool) bool {
	limit := max(tolerance, took)
	if disciplined {
		limit = max(distrust, took)
	}
	switch {
	case wrong.Abs() < limit:
		if disciplined {
			c.disputes = 0
		}
		return false
	case !disciplined:
		return true
	}
	c.disputes++
	if c.disputes == mostDisputes+1 {
		c.log.logf("the clock is %v ahead of the server's: something here insists on that", wrong.Round(time.Millisecond))
	}
	return c.disputes <= mostDisputes
}

// watch is called all the time: a clock that somebody sets by hand is wrong until the
// server is heard next.
func (c *clock) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || disciplined() {
		return
	}
	if right := time.Unix(0, int64(since()+c.ahead)); wrongBy(right).Abs() >= tolerance {
		c.set(right)
	}
}

func (c *clock) set(to time.Time) {
	wrong, err := setClock(to)
	if err != nil {
		c.log.logf("clock: %v", err)
		return
	}
	if now := since(); c.noted == 0 || now-c.noted >= noteEvery {
		c.noted = now
		c.log.logf("the clock was wrong by %v", -wrong.Round(time.Millisecond))
	}
}

// wrongBy is how far ahead the clock is when it is that late. It does not ask the monotonic
// clock, which the server does not have.
func wrongBy(at time.Time) time.Duration { return time.Since(at.Round(0)) }

// setClock sets the clock, and returns how wrong it was.
func setClock(to time.Time) (wrong time.Duration, err error) {
	wrong = wrongBy(to)
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
