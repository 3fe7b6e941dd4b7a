//go:build linux

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/pkg/sftp"
)

// sftpWord makes the program an SFTP server: where the image has none its SSH server, or ours, runs
// this one, from where the kernel finds it.
const sftpWord = "sftp"

// serveFiles serves the files of the machine on standard input and output, from the home of root.
func serveFiles() {
	if os.Chdir(rootAccount().home) != nil {
		os.Chdir("/")
	}
	server, err := sftp.NewServer(standard{os.Stdin, os.Stdout})
	if err == nil {
		err = server.Serve()
	}
	if err != nil && err != io.EOF {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// standard is standard input and output.
type standard struct {
	io.Reader
	io.WriteCloser
}
