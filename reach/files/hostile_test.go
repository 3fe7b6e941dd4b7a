package files

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"

	"walt/fault"
	"walt/reach/files/wire"
)

// node is a folder whose server answers each request with what answer makes of it, "" is
// nothing.
func node(answer func(kind uint8, id uint32, p *parser) []byte) func(context.Context) (Folder, error) {
	return func(ctx context.Context) (Folder, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			in := newPackets(theirs)
			for {
				b, err := in.next()
				if err != nil {
					return
				}
				p := parser{b: b}
				kind := p.uint8()
				if kind == wire.Init {
					b = packet(wire.Version, wire.Protocol)
				} else {
					b = answer(kind, p.uint32(), &p)
				}
				if _, err := theirs.Write(b); err != nil {
					return
				}
			}
		}()
		go ours.Write(begins)
		context.AfterFunc(ctx, func() { ours.Close() })
		return Folder{ReadWriteCloser: ours}, nil
	}
}

// opened answers requests for handles, and leaves the others to the function.
func opened(answer func(kind uint8, id uint32, p *parser) []byte) func(context.Context) (Folder, error) {
	return node(func(kind uint8, id uint32, p *parser) []byte {
		switch kind {
		case wire.Open, wire.Opendir:
			return packet(wire.Handle, id, "h")
		case wire.Close:
			return status(nil, id, wire.CodeOK, "")
		}
		return answer(kind, id, p)
	})
}

// A node whose answers are none loses its connection, its clients get an error and hear which
// node that is; the other folders of the session go on.
func TestHostileNode(t *testing.T) {
	t.Parallel()
	attrs := 0 // flags of attributes: there are none
	for name, answer := range map[string]func(kind uint8, id uint32, p *parser) []byte{
		"a length that is huge":    func(uint8, uint32, *parser) []byte { return []byte{0xff, 0xff, 0xff, 0xff, wire.Data} },
		"no length":                func(uint8, uint32, *parser) []byte { return make([]byte, 4) },
		"another id":               func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Data, id+1, "x") },
		"a packet of a client":     func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Read, id, "h", 0, 0, 0) },
		"a packet that is cut":     func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Data, id, 100) },
		"more than was asked for":  func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Data, id, strings.Repeat("x", 100_000)) },
		"a handle":                 func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Handle, id, "h") },
		"done, and no data":        func(_ uint8, id uint32, _ *parser) []byte { return status(nil, id, wire.CodeOK, "") },
		"a list of nothing":        func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Name, id, 1<<31) },
		"attributes without end":   func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Name, id, 1, "a", "a", 1<<31, -1) },
		"a list where data belong": func(_ uint8, id uint32, _ *parser) []byte { return packet(wire.Name, id, 1, "a", "a", attrs) },
		"two answers": func(_ uint8, id uint32, _ *parser) []byte {
			return append(packet(wire.Data, id, "x"), packet(wire.Data, id, "x")...)
		},
		"an end": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := opened(answer)
			if answer == nil {
				folder = func(ctx context.Context) (Folder, error) {
					f, err := opened(func(uint8, uint32, *parser) []byte { return nil })(ctx)
					f.ReadWriteCloser = &endsAfter{f.ReadWriteCloser, 2}
					return f, err
				}
			}
			c := use(t, fakeFolders{"bad": folder, "good": host})
			f, err := c.Open("/bad/x")
			if err == nil {
				_, err = io.ReadAll(io.NewSectionReader(f, 0, 1000))
				if err == nil { // a later one is not answered
					_, err = f.Stat()
				}
				f.Close()
			}
			if err == nil || !c.wasTold("bad") {
				t.Errorf("%v, and the user is told: %v", err, c.told)
			}
			if _, err := c.Stat("/good/etc/passwd"); err != nil {
				t.Error(err)
			}
		})
	}
}

// endsAfter is a connection that ends after some packets were sent.
type endsAfter struct {
	io.ReadWriteCloser
	left int
}

func (e *endsAfter) Write(p []byte) (int, error) {
	if e.left--; e.left == 0 {
		e.Close()
	}
	return e.ReadWriteCloser.Write(p)
}

// What begins as no SFTP server does is told so.
func TestNoServer(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"a shell that greets": "Welcome to Debian!\r\n", "an answer to nothing": string(packet(wire.Data, 1, "x")), "silence": ""} {
		c := use(t, fakeFolders{"bad": func(ctx context.Context) (Folder, error) {
			ours, theirs := net.Pipe()
			go func() {
				io.WriteString(theirs, text)
				theirs.Close()
			}()
			return Folder{ReadWriteCloser: ours}, nil
		}})
		if _, err := c.Stat("/bad/x"); err == nil || !c.wasTold("bad") {
			t.Errorf("%s: %v, and the user is told: %v", name, err, c.told)
		}
	}
}

// The names in a directory of a node are names; what else it says is fit for terminals.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	told := false
	c := use(t, fakeFolders{"bad": opened(func(kind uint8, id uint32, p *parser) []byte {
		switch {
		case kind == wire.Realpath:
			return packet(wire.Name, id, 1, "../../good/etc", "", 0)
		case kind != wire.Readdir, told:
			return status(nil, id, wire.CodeEOF, "\x1b]0;gone\a")
		}
		told = true
		fields := []any{8}
		for _, name := range []string{"../../etc/passwd", "/etc/passwd", "a\x00b", "", strings.Repeat("a", 300), "fine", "\x1b[2J", ".."} {
			fields = append(fields, name, name+"\x1b[2J", 0)
		}
		return packet(wire.Name, id, fields...)
	})})
	all, err := c.ReadDir("/bad/d")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range all {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, "|"); got != "fine|\x1b[2J" { // the client leaves out ".."
		t.Errorf("%q", got)
	}
	if name, err := c.RealPath("/bad/x"); err != nil || name != "/bad/good/etc" {
		t.Errorf("%s, %v", name, err)
	}
	var why *sftp.StatusError
	if _, err := c.Lstat("/bad/x"); !errors.As(err, &why) && err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err)
	}
}

// A directory without an end has one, and takes no memory of the server until then.
func TestEndlessDirectory(t *testing.T) {
	t.Parallel()
	var fields []any
	for range 1000 {
		fields = append(fields, "name", "name", 0)
	}
	c, conn := begun(t, fakeFolders{"bad": opened(func(_ uint8, id uint32, _ *parser) []byte {
		return packet(wire.Name, id, append([]any{1000}, fields...)...)
	})})
	go conn.Write(append(append([]byte(nil), begins...), packet(wire.Opendir, 1, "/bad/d")...))
	in := newPackets(conn)
	for range 2 {
		if _, err := in.next(); err != nil {
			t.Fatal(err)
		}
	}
	begun := heap()
	for n := 0; ; n++ {
		go conn.Write(packet(wire.Readdir, 2, "\x00\x00\x00\x01"))
		b, err := in.next()
		if err != nil {
			t.Fatal(err)
		}
		if b[0] == wire.Status {
			break
		}
		if n > mostNames/1000 {
			t.Fatal("it does not end")
		}
	}
	if grown := heap() - begun; grown > 8<<20 {
		t.Errorf("the memory grew by %d KiB", grown>>10)
	}
	if !c.wasTold("without an end") {
		t.Error(c.told)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A node that answers nothing loses its connection in the end.
func TestSilentNode(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	told := make(chan error, 1)
	s := newSession(t.Context(), fakeFolders{"bad": node(func(uint8, uint32, *parser) []byte { return nil })}, ours, func(err error) { told <- err })
	s.limit = 10 * time.Millisecond
	ended := make(chan struct{})
	go func() { // ends with the pipe
		defer close(ended)
		_ = s.serve(newPackets(ours))
		s.close()
	}()
	go theirs.Write(append(append([]byte(nil), begins...), packet(wire.Stat, 7, "/bad/x")...))
	in := newPackets(theirs)
	if _, err := in.next(); err != nil {
		t.Fatal(err)
	}
	go func() { // what is told comes first
		if err := <-told; fault.As(err) == nil || !strings.Contains(err.Error(), "has not answered") {
			t.Error(err)
		}
		close(told)
	}()
	b, err := in.next()
	p := parser{b: b}
	if err != nil || p.uint8() != wire.Status || p.uint32() != 7 || p.uint32() != wire.CodeLost {
		t.Errorf("%q, %v", b, err)
	}
	<-told
	theirs.Close()
	<-ended
}

// A client that sends something else than SFTP ends its session, and no other way.
func TestHostileClient(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{
		"a shell":        "ls -l\n",
		"a huge packet":  "\xff\xff\xff\xff\x01",
		"no packet":      "\x00\x00\x00\x00",
		"no init":        string(packet(wire.Stat, 3, "/")),
		"a cut packet":   string(begins) + "\x00\x00\x00\x02\x11\x00",
		"an old version": "\x00\x00\x00\x05\x01\x00\x00\x00\x01",
	} {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		go func() {
			io.WriteString(theirs, sent)
			theirs.Close()
		}()
		if err := Serve(t.Context(), fakeFolders{}, ours, ours, func(error) {}); err == nil && name != "a cut packet" {
			t.Errorf("%s is no error", name)
		}
		ours.Close()
	}
	c, conn := begun(t, fakeFolders{"rpi-3": host})
	in := newPackets(conn)
	go conn.Write(begins)
	if _, err := in.next(); err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string][]byte{
		"a handle of nobody":     packet(wire.Read, 9, "\x00\x00\x00\x07", uint64(0), 10),
		"no handle":              packet(wire.Close, 9, "abc"),
		"a request that is none": packet(77, 9),
		"an unknown extension":   packet(wire.Extended, 9, "expand-path@openssh.com", "~"),
		"no path":                packet(wire.Stat, 9),
		"a path with a NUL":      packet(wire.Stat, 9, "rpi-3/etc\x00/x"),
		"a long path":            packet(wire.Stat, 9, "rpi-3/"+strings.Repeat("a/", 5000)),
		"no second path":         packet(wire.Rename, 9, "rpi-3/a"),
		"no target":              packet(wire.Symlink, 9),
		"copy of nothing":        packet(wire.Extended, 9, "copy-data", "a"),
		"attributes that lie":    packet(wire.Open, 9, "rpi-3/etc/nothing", 1, 1<<31, -1),
	} {
		go conn.Write(sent)
		b, err := in.next()
		p := parser{b: b}
		if err != nil || p.uint8() != wire.Status || p.uint32() != 9 || p.uint32() == wire.CodeOK {
			t.Fatalf("%s: %q, %v, %v", name, b, err, c.told)
		}
	}
	go conn.Write(packet(wire.Stat, 10, "rpi-3/etc"))
	if b, err := in.next(); err != nil || b[0] != wire.Attrs {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat("/etc/nothing"); err == nil {
		t.Error("a file was made")
	}
}

// Whatever a client and a node send, the session does not panic, and what the client gets is
// packets.
func FuzzSession(f *testing.F) {
	f.Add(packet(wire.Open, 1, "rpi-3/x", 1, 0), packet(wire.Handle, 1, "h"))
	f.Add(packet(wire.Opendir, 1, "rpi-3:/x"), packet(wire.Name, 1, 1, "a", "a", 0))
	f.Add(packet(wire.Extended, 1, "statvfs@openssh.com", "rpi-3/"), packet(wire.Reply, 1))
	f.Add(packet(wire.Realpath, 1, "rpi-3/.."), packet(wire.Status, 1, 4, "no", "en"))
	f.Fuzz(func(t *testing.T, client, server []byte) {
		folders := fakeFolders{"rpi-3": func(ctx context.Context) (Folder, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			go func() {
				theirs.Write(packet(wire.Version, wire.Protocol, "copy-data", "1", "statvfs@openssh.com", "2"))
				theirs.Write(server)
				theirs.Close()
			}()
			return Folder{ReadWriteCloser: ours}, nil
		}}
		var out strings.Builder
		_ = Serve(t.Context(), folders, strings.NewReader(string(begins)+string(client)), &out, func(error) {})
		for p, b := newPackets(strings.NewReader(out.String())), []byte(nil); ; {
			var err error
			if b, err = p.next(); errors.Is(err, io.EOF) {
				return
			}
			if err != nil || len(b) < 5 {
				t.Fatalf("%q: %v", out.String(), err)
			}
		}
	})
}
