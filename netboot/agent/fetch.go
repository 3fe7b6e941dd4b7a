//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// body is what a URL has: it must be read to its end, and closed.
type body struct {
	io.Reader
	conn net.Conn
}

func (b body) Close() error { return b.conn.Close() }

// get asks for a URL of the form http://HOST:PORT/PATH, with HTTP/1.0: the library's
// client would make this program by half larger. A body that ends early is an error
// when the server said how long it is. idle is how long nothing may come.
func get(url string, idle time.Duration) (io.ReadCloser, error) {
	rest, ok := strings.CutPrefix(url, "http://")
	host, file, _ := strings.Cut(rest, "/")
	if !ok || host == "" {
		return nil, fmt.Errorf("%s is no URL of the form http://HOST:PORT/PATH", hide(url))
	}
	addr := host
	if _, _, err := net.SplitHostPort(host); err != nil {
		addr = net.JoinHostPort(host, "80")
	}
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	b, err := ask(conn, host, file, idle)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", hide(url), err)
	}
	return b, nil
}

func ask(conn net.Conn, host, file string, idle time.Duration) (io.ReadCloser, error) {
	wait := &patient{conn, idle}
	if _, err := fmt.Fprintf(wait, "GET /%s HTTP/1.0\r\nHost: %s\r\nUser-Agent: walt-agent\r\n\r\n", file, host); err != nil {
		return nil, err
	}
	in := textproto.NewReader(bufio.NewReaderSize(wait, 64<<10))
	status, err := in.ReadLine()
	if err != nil {
		return nil, err
	}
	head, err := in.ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	words := strings.SplitN(status, " ", 3)
	if len(words) < 2 || !strings.HasPrefix(words[0], "HTTP/1.") || words[1] != "200" {
		text, _ := io.ReadAll(io.LimitReader(in.R, 200)) // it may say why
		return nil, fmt.Errorf("the server answered %s: %s", status, strings.TrimSpace(string(text)))
	}
	b := body{in.R, conn}
	if size, err := strconv.ParseInt(head.Get("Content-Length"), 10, 64); err == nil {
		b.Reader = &whole{in.R, size}
	}
	return b, nil
}

// hide is a URL without what follows the host, which is a secret.
func hide(url string) string {
	rest, _ := strings.CutPrefix(url, "http://")
	host, _, _ := strings.Cut(rest, "/")
	return "http://" + host + "/..."
}

// patient is a connection on which something must come, or go, within a time.
type patient struct {
	net.Conn
	idle time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	p.SetReadDeadline(time.Now().Add(p.idle))
	return p.Conn.Read(b)
}

func (p *patient) Write(b []byte) (int, error) {
	p.SetWriteDeadline(time.Now().Add(p.idle))
	return p.Conn.Write(b)
}

// whole is a body that must have so many bytes.
type whole struct {
	r    io.Reader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	if w.left == 0 {
		return 0, io.EOF
	}
	n, err := w.r.Read(p[:min(int64(len(p)), w.left)])
	if w.left -= int64(n); err == io.EOF && w.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
