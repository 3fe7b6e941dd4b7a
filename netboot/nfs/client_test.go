package nfs

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"walt/images/content"
)

// client is a client of RPC, which has one call under way at a time.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	xid  uint32
	cred []byte // flavor and body
	buf  []byte
}

var (
	asNobody = []byte{0, 0, 0, 0, 0, 0, 0, 0}
	asRoot   = asUser(0, 0)
)

// asUser are credentials of AUTH_SYS.
func asUser(uid, gid uint32, groups ...uint32) []byte {
	var body encoder
	body.uint32(1234567)
	body.string("machine")
	body.uint32(uid)
	body.uint32(gid)
	body.uint32(uint32(len(groups)))
	for _, g := range groups {
		body.uint32(g)
	}
	var e encoder
	e.uint32(authSys)
	e.string(string(body))
	return e
}

// dial connects from an address of the loopback network.
func dial(t testing.TB, addr, from string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, in: bufio.NewReaderSize(conn, 64<<10), cred: asRoot}
}

// message is a call with its record mark.
func (c *client) message(program, vers, procedure uint32, args []byte) []byte {
	c.xid++
	e := encoder(append(c.buf[:0], 0, 0, 0, 0))
	for _, v := range []uint32{c.xid, messageCall, rpcVersion, program, vers, procedure} {
		e.uint32(v)
	}
	e = append(append(append(e, c.cred...), asNobody...), args...)
	binary.BigEndian.PutUint32(e, lastFragment|uint32(len(e)-4))
	c.buf = e
	return e
}

func (c *client) send(message []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(message); err != nil {
		c.t.Fatal(err)
	}
}

// record reads an answer, which is valid until the next one.
func (c *client) record() ([]byte, error) {
	var mark [4]byte
	if _, err := io.ReadFull(c.in, mark[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(mark[:]) &^ lastFragment)
	if cap(c.buf) < size {
		c.buf = make([]byte, 2*size)
	}
	b := c.buf[:size]
	_, err := io.ReadFull(c.in, b)
	return b, err
}

// raw calls a procedure and returns the answer, without its XID.
func (c *client) raw(program, vers, procedure uint32, args []byte) *decoder {
	c.t.Helper()
	c.send(c.message(program, vers, procedure, args))
	b, err := c.record()
	if err != nil {
		c.t.Fatal(err)
	}
	d := &decoder{b: b}
	if xid := d.uint32(); xid != c.xid {
		c.t.Fatalf("the answer is to %d, not to %d", xid, c.xid)
	}
	return d
}

// do calls a procedure, which is accepted, and returns what comes of it.
func (c *client) do(program, procedure uint32, args ...any) *decoder {
	c.t.Helper()
	d := c.raw(program, version, procedure, encode(args...))
	wantWords(c.t, d, messageReply, replyAccepted, authNone, 0, acceptSuccess)
	return d
}

func (c *client) nfs(procedure uint32, args ...any) *decoder {
	c.t.Helper()
	return c.do(programNFS, procedure, args...)
}

// encode puts values one behind the other: strings and handles with their length.
func encode(args ...any) []byte {
	var e encoder
	for _, a := range args {
		switch a := a.(type) {
		case int:
			e.uint32(uint32(a))
		case uint64:
			e.uint64(a)
		case string:
			e.string(a)
		case handle:
			e.string(string(a))
		default:
			panic(fmt.Sprintf("%T", a))
		}
	}
	return e
}

func wantWords(t testing.TB, d *decoder, words ...uint32) {
	t.Helper()
	for k, want := range words {
		if got := d.uint32(); got != want || d.bad {
			t.Fatalf("word %d is %d, want %d (there: %t)", k, got, want, !d.bad)
		}
	}
}

// wantEnd fails unless all of an answer was taken.
func wantEnd(t testing.TB, d *decoder) {
	t.Helper()
	if d.bad || len(d.b) > 0 {
		t.Errorf("the answer is cut (%t), or %d bytes are left of it", d.bad, len(d.b))
	}
}

type handle string

// mount returns the handle of an image's root.
func (c *client) mount(d content.Digest) handle {
	c.t.Helper()
	res := c.do(programMount, 1, Path(d))
	wantWords(c.t, res, mountOK)
	h := handle(res.opaque(handleLimit))
	wantWords(c.t, res, 1, authSys)
	wantEnd(c.t, res)
	return h
}

// attributes are those of a file as they are sent.
type attributes struct {
	kind, mode, links, uid, gid   uint32
	size, used                    uint64
	major, minor                  uint32
	fsid, number                  uint64
	read, modified, changed, nano uint32
}

func takeAttributes(d *decoder) (a attributes) {
	a.kind, a.mode, a.links, a.uid, a.gid = d.uint32(), d.uint32(), d.uint32(), d.uint32(), d.uint32()
	a.size, a.used = d.uint64(), d.uint64()
	a.major, a.minor = d.uint32(), d.uint32()
	a.fsid, a.number = d.uint64(), d.uint64()
	a.read, _ = d.uint32(), d.uint32()
	a.modified, a.nano = d.uint32(), d.uint32()
	a.changed, _ = d.uint32(), d.uint32()
	return a
}

// takeOptional takes attributes that need not be there, but are.
func takeOptional(t testing.TB, d *decoder) attributes {
	t.Helper()
	wantWords(t, d, 1)
	return takeAttributes(d)
}

func (c *client) getattr(h handle) attributes {
	c.t.Helper()
	d := c.nfs(1, h)
	wantWords(c.t, d, statOK)
	a := takeAttributes(d)
	wantEnd(c.t, d)
	return a
}

// lookup returns the handle and the attributes of a file in a directory.
func (c *client) lookup(dir handle, name string) (handle, attributes) {
	c.t.Helper()
	d := c.nfs(3, dir, name)
	wantWords(c.t, d, statOK)
	h := handle(d.opaque(handleLimit))
	a := takeOptional(c.t, d)
	takeOptional(c.t, d)
	wantEnd(c.t, d)
	return h, a
}

// read reads once from a file; the bytes are valid until the next call.
func (c *client) read(h handle, offset uint64, count int) (b []byte, eof bool) {
	c.t.Helper()
	d := c.nfs(6, h, offset, count)
	wantWords(c.t, d, statOK)
	takeOptional(c.t, d)
	n, end := d.uint32(), d.uint32()
	b = d.opaque(readLimit)
	wantEnd(c.t, d)
	if int(n) != len(b) {
		c.t.Fatalf("%d bytes, of which %d are there", n, len(b))
	}
	return b, end == 1
}

// dirent is an entry of a directory as it is sent.
type dirent struct {
	name   string
	number uint64
	cookie uint64
	attr   attributes // with READDIRPLUS
	handle handle
}

// page lists entries of a directory once. It returns the verifier of a cookie.
func (c *client) page(dir handle, plus bool, cookie, verifier uint64, sizes ...any) (all []dirent, next uint64, eof bool) {
	c.t.Helper()
	procedure := uint32(16)
	if plus {
		procedure = 17
	}
	d := c.nfs(procedure, append([]any{dir, cookie, verifier}, sizes...)...)
	wantWords(c.t, d, statOK)
	if size, most := len(d.b), sizes[len(sizes)-1].(int); size > most {
		c.t.Errorf("%d bytes, more than %d", size, most)
	}
	takeOptional(c.t, d)
	next = d.uint64()
	for d.uint32() == 1 {
		e := dirent{number: d.uint64(), name: string(d.opaque(elementLimit)), cookie: d.uint64()}
		if plus {
			e.attr = takeOptional(c.t, d)
			wantWords(c.t, d, 1)
			e.handle = handle(d.opaque(handleLimit))
		}
		all = append(all, e)
	}
	eof = d.uint32() == 1
	wantEnd(c.t, d)
	return all, next, eof
}

// list lists a directory page by page.
func (c *client) list(dir handle, plus bool, sizes ...any) (all []dirent) {
	c.t.Helper()
	var cookie, verifier uint64
	for {
		page, v, eof := c.page(dir, plus, cookie, verifier, sizes...)
		all = append(all, page...)
		if eof {
			return all
		}
		if len(page) == 0 {
			c.t.Fatal("a page without an entry that is not the last one")
		}
		cookie, verifier = page[len(page)-1].cookie, v
	}
}
