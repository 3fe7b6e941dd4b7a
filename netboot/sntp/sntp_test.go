package sntp

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"testing"
	"time"
)

// noon is a time with half a second.
func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 500_000_000, time.UTC) }

// asks is what a client of a version sends.
func asks(version byte) []byte {
	q := make([]byte, size)
	q[0], q[2] = version<<3|client, 6
	copy(q[40:], "asked at")
	return q
}

// The answer to the byte: RFC 4330, section 4. 2026-11-22 12:00 is 0xeead57c0 there.
func TestAnswer(t *testing.T) {
	for _, version := range []byte{1, 3, 4} {
		got := hex.EncodeToString(Answer(asks(version), noon))
		want := hex.EncodeToString([]byte{version<<3 | 4}) + "0a06ec" + "00000000" + "0000028f" + "4c4f434c" + stampOfNoon + "61736b6564206174" + stampOfNoon + stampOfNoon
		if got != want {
			t.Errorf("version %d: %s, want %s", version, got, want)
		}
	}
	for what, q := range map[string][]byte{
		"nothing": nil, "short": asks(4)[:size-1], "no version": asks(0), "a later version": asks(5),
		"an answer": Answer(asks(4), noon), "a control message": append([]byte{4<<3 | 6}, asks(4)[1:]...),
	} {
		if a := Answer(q, noon); a != nil {
			t.Errorf("%s is answered %x", what, a)
		}
	}
}

const stampOfNoon = "eead57c080000000"

// A client on the network learns the time, and the end is no error.
func TestServe(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, conn, noon) }()
	c, err := net.Dial("udp4", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	for _, q := range [][]byte{[]byte("nonsense"), asks(4)} {
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || !bytes.Equal(b[:n], Answer(asks(4), noon)) {
		t.Errorf("%x, %v", b[:n], err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// An answer is no longer than its question, and is not answered itself: nobody has the server
// send more than was sent to it, or talk to itself.
func FuzzAnswer(f *testing.F) {
	f.Add(asks(4))
	f.Add(Answer(asks(3), noon))
	f.Fuzz(func(t *testing.T, q []byte) {
		a := Answer(q, noon)
		if a != nil && (len(a) > len(q) || Answer(a, noon) != nil) {
			t.Errorf("%x is answered %x", q, a)
		}
	})
}
