package nfs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"walt/images/content"
	"walt/images/imagetest"
)

// spent is how long the processors worked for this program, its clients of the
// server included.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports what each operation took of the processors.
func reportCPU(b *testing.B, begin time.Duration) {
	b.ReportMetric(float64(spent(b)-begin)/float64(b.N)/1e3, "cpu-us/op")
}

// repeat sends a call, and skips the answer.
func (c *client) repeat(message []byte) error {
	if _, err := c.conn.Write(message); err != nil {
		return err
	}
	return c.skip()
}

func (c *client) skip() error {
	mark, err := c.in.Peek(4)
	if err != nil {
		return err
	}
	_, err = c.in.Discard(4 + int(binary.BigEndian.Uint32(mark)&^lastFragment))
	return err
}

// What it takes to make an answer, without the network.
func BenchmarkAnswer(b *testing.B) {
	d, tree := image(b, imagetest.Archive(b, regular("etc/some/file", strings.Repeat("x", readLimit))))
	addr, server, _ := start(b, open{tree})
	c := dial(b, addr, home)
	root := c.mount(d)
	etc, _ := c.lookup(root, "etc")
	some, _ := c.lookup(etc, "some")
	file, _ := c.lookup(some, "file")
	for name, message := range map[string][]byte{
		"getattr": c.message(programNFS, version, 1, encode(file)),
		"lookup":  c.message(programNFS, version, 3, encode(some, "file")),
		"read":    c.message(programNFS, version, 6, encode(file, uint64(0), readLimit)),
	} {
		record := slices.Clone(message[4:])
		b.Run(name, func(b *testing.B) {
			x := call{server: server, from: netip.MustParseAddr(home)}
			out := make([]byte, 0, batch+readLimit+1024)
			b.ReportAllocs()
			begin := spent(b)
			for b.Loop() {
				if _, err := x.answer(record, out); err != nil {
					b.Fatal(err)
				}
			}
			reportCPU(b, begin)
		})
	}
}

// What the server alone takes for a client, in a process of its own, that looks
// names up, with one call under way or several. BenchmarkEcho is the least that the
// former can take.
func BenchmarkLookup(b *testing.B) {
	addr, d := serveAll(b, regular("f", "hello"))
	c := dial(b, addr, home)
	message := slices.Clone(c.message(programNFS, version, 3, encode(c.mount(d), "f")))
	for _, together := range []int{1, 8} {
		b.Run(strconv.Itoa(together), func(b *testing.B) { callFrom(b, addr, message, together) })
	}
}

// What a server takes that answers as many bytes without looking at them.
func BenchmarkEcho(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() { // until the client ends
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		call, answer := make([]byte, 4096), make([]byte, 4+24+28+2*88)
		binary.BigEndian.PutUint32(answer, lastFragment|uint32(len(answer)-4))
		for err == nil {
			if _, err = conn.Read(call); err == nil {
				_, err = conn.Write(answer)
			}
		}
	}()
	c := client{cred: asRoot}
	callFrom(b, l.Addr().String(), c.message(programNFS, version, 3, encode(handle(make([]byte, handleSize)), "f")), 1)
}

// callFrom has another process make the same call b.N times, several together.
func callFrom(b *testing.B, addr string, message []byte, together int) {
	cmd := exec.CommandContext(b.Context(), os.Args[0], addr, hex.EncodeToString(message), strconv.Itoa(b.N), strconv.Itoa(together))
	cmd.Env = append(os.Environ(), clientProcess+"=1")
	begin := spent(b)
	b.ResetTimer()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	reportCPU(b, begin)
}

// clientProcess has the program of the tests be the client of callFrom.
const clientProcess = "NFS_CLIENT_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(clientProcess) == "" {
		os.Exit(m.Run())
	}
	n, err := strconv.Atoi(os.Args[3])
	together, err2 := strconv.Atoi(os.Args[4])
	message, err3 := hex.DecodeString(os.Args[2])
	conn, err4 := net.Dial("tcp", os.Args[1])
	if err = errors.Join(err, err2, err3, err4); err == nil {
		c := client{conn: conn, in: bufio.NewReader(conn)}
		for ; n > 0 && err == nil; n -= together {
			_, err = conn.Write(bytes.Repeat(message, min(n, together)))
			for range min(n, together) {
				err = errors.Join(err, c.skip())
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// open shows its image to everybody.
type open struct{ tree *content.Tree }

func (o open) Tree(context.Context, netip.Addr, ID) (*content.Tree, error) { return o.tree, nil }

// serveAll serves an image to everybody.
func serveAll(b *testing.B, entries ...*tar.Header) (addr string, d content.Digest) {
	d, tree := image(b, imagetest.Archive(b, entries...))
	addr, _, _ = start(b, open{tree})
	return addr, d
}

// parallel has ten clients make calls, each one after the other, about a file with
// the name f.
func parallel(b *testing.B, content string, message func(c *client, f handle) []byte) {
	addr, d := serveAll(b, regular("f", content))
	var n atomic.Int64
	b.SetParallelism(5) // on two processors
	begin := spent(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := dial(b, addr, fmt.Sprintf("127.0.1.%d", n.Add(1)))
		f, _ := c.lookup(c.mount(d), "f")
		m := slices.Clone(message(c, f))
		for pb.Next() {
			if err := c.repeat(m); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	reportCPU(b, begin)
}

func BenchmarkGetattr(b *testing.B) {
	parallel(b, "", func(c *client, f handle) []byte { return c.message(programNFS, version, 1, encode(f)) })
}

func BenchmarkRead(b *testing.B) {
	b.SetBytes(readLimit)
	parallel(b, strings.Repeat("x", readLimit), func(c *client, f handle) []byte {
		return c.message(programNFS, version, 6, encode(f, uint64(0), readLimit))
	})
}
