// Package sntp tells the time to machines without a clock: the server of SNTP, RFC 4330.
// Its time is that of this host, however that comes by it. Its one surprising rule: it says
// that it has no better clock behind it, so that who knows one prefers that.
package sntp

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"time"
)

const (
	// Port is where it is asked.
	Port = 123
	// size is how many bytes a packet has, without keys and extensions.
	size = 48

	client, server = 3, 4 // modes, in the low bits of the first byte
	// stratum is how far from a clock that is always right this one says to be: as servers
	// do that follow nothing.
	stratum = 10
	// precision is that of this host's clock, as the exponent of a power of 2 in seconds.
	precision = -20
	// epoch is the beginning of NTP's time, in seconds before that of Unix.
	epoch = 2_208_988_800
)

// Serve answers what comes from conn, until ctx ends or that is closed. The time is what
// now returns.
func Serve(ctx context.Context, conn net.PacketConn, now func() time.Time) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var b [1500]byte
	for {
		n, from, err := conn.ReadFrom(b[:])
		if err != nil && (ctx.Err() != nil || errors.Is(err, net.ErrClosed)) {
			return nil
		}
		if err != nil {
			return err
		}
		if a := Answer(b[:n], now); a != nil {
			_, _ = conn.WriteTo(a, from) // who does not hear it asks again
		}
	}
}

// Answer returns the answer to a packet, nil when there is none: it is no question.
func Answer(q []byte, now func() time.Time) []byte {
	if len(q) < size || q[0]&7 != client {
		return nil
	}
	version := q[0] >> 3 & 7
	if version == 0 || version > 4 {
		return nil
	}
	received := stamp(now())
	a := make([]byte, size)
	a[0] = version<<3 | server
	a[1], a[2], a[3] = stratum, q[2], 0x100+precision
	binary.BigEndian.PutUint32(a[8:], 1<<16/100) // it may be 10 ms wrong
	copy(a[12:], "LOCL")
	binary.BigEndian.PutUint64(a[16:], received)
	copy(a[24:32], q[40:48]) // when the client asked, as it says
	binary.BigEndian.PutUint64(a[32:], received)
	binary.BigEndian.PutUint64(a[40:], stamp(now()))
	return a
}

// stamp is a time as NTP has it: seconds and, in the lower half, parts of 2^32 of one.
func stamp(t time.Time) uint64 {
	return uint64(t.Unix()+epoch)<<32 | uint64(t.Nanosecond())<<32/1_000_000_000
}
