package console

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"walt/pause"
)

// hold has a line lead to a target until ctx ends. What fails is tried again, with pauses.
func (s *Lines) hold(ctx context.Context, line *Line, t Target) {
	failures, told, again := 0, "", false // again: it is told that it is connected again
	line.Unplug("not connected yet")
	for {
		w, err := t.open(ctx, s.refuse)
		since := s.Now()
		if err == nil {
			if told != "" && !again {
				line.log.Info("the serial line is connected again", "to", t.String())
				again = true
			}
			err = line.follow(ctx, w)
		}
		if ctx.Err() != nil {
			line.Unplug("nobody says where it is any more")
			return
		}
		if s.Now().Sub(since) >= s.steady {
			failures, told, again = 0, "", false
		}
		why := words(err)
		line.Unplug(why)
		if why != told { // of many tries
			line.log.Warn("the serial line is not connected; it is tried again and again", "to", t.String(), "err", err)
			told, again = why, false
		}
		if pause.For(ctx, pause.Doubled(s.again, failures)) != nil {
			line.Unplug("nobody says where it is any more")
			return
		}
		failures++
	}
}

// follow passes on what comes from w until that ends, and closes it.
func (l *Line) follow(ctx context.Context, w wire) error {
	defer w.Close()
	defer context.AfterFunc(ctx, func() { w.Close() })()
	l.PlugIn(w)
	b := make([]byte, 4<<10)
	for {
		n, err := w.Read(b)
		l.Feed(b[:n])
		if err != nil {
			return err
		}
	}
}

// words say why a target cannot be connected to, without what a user need not know.
func words(err error) string {
	var late net.Error
	var name *net.DNSError
	var number syscall.Errno
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EIO):
		return "the other end closed it"
	case errors.Is(err, net.ErrClosed): // by telnet, which sent a part of something
		return "the other end takes nothing"
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such device on the server"
	case errors.Is(err, fs.ErrPermission):
		return "the server may not open the device"
	case errors.As(err, &name):
		return "its name is not known"
	case errors.As(err, &late) && late.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer"
	case errors.As(err, &number):
		return number.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}
