package badger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allocate gives a file, which it makes if need be, the blocks of the disk for
// size bytes, and leaves its length and content as they are. File systems that
// cannot are left without.
func allocate(file string, size int64) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// created has made called with the path of every file that is made in dir, as
// soon as the system tells, until end is called.
func created(dir string, made func(path string)) (end func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE); err != nil {
		return nil, errors.Join(err, events.Close())
	}
	done := make(chan struct{})
	go func() { // ends when end closes the file
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, err := events.Read(b)
			if err != nil {
				return
			}
			for rest := b[:n]; len(rest) >= unix.SizeofInotifyEvent; {
				e := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
				name := rest[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+int(e.Len)]
				made(filepath.Join(dir, string(bytes.TrimRight(name, "\x00"))))
				rest = rest[unix.SizeofInotifyEvent+int(e.Len):]
			}
		}
	}()
	return func() { events.Close(); <-done }, nil
}

// allocateTable gives a table that badger has just made, and is about to write,
// its blocks: it sets the length first.
func allocateTable(path string) {
	if !strings.HasSuffix(path, ".sst") {
		return
	}
	for begun := time.Now(); time.Since(begun) < glance; {
		info, err := os.Stat(path)
		if err != nil {
			return
		}
		if info.Size() > 0 {
			_ = allocate(path, info.Size()) // badger finds out itself that there is no room
			return
		}
	}
}
