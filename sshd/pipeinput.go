package sshd

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync"

	"walt/commands"
)

// pipeInput is the standard input of a client without a terminal: bytes for a
// command, or lines for a script or an answer.
type pipeInput struct {
	source io.Reader

	mu      sync.Mutex // held while source is read
	buf     *bufio.Reader
	begun   bool        // a line was read
	pending chan answer // a line that is still awaited after line gave up
}

type answer struct {
	line string
	err  error
}

// Read reads bytes until the client ends its input or its channel.
func (in *pipeInput) Read(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.buffered().Read(p)
}

// line returns the next line without its end. It fails with io.EOF at the end
// of the input and with the context's error when that ends first. A command
// line that is too long is cut short such that it is still too long.
func (in *pipeInput) line(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if in.pending == nil {
		in.pending = make(chan answer, 1)
		go func(to chan<- answer) { // ends with the line or the channel
			in.mu.Lock()
			defer in.mu.Unlock()
			line, err := readLine(in.buffered(), commands.MaxLine+1)
			if !in.begun { // editors of other systems write a byte-order mark
				in.begun = true
				line = strings.TrimPrefix(line, "\ufeff")
			}
			to <- answer{line, err}
		}(in.pending)
	}
	select {
	case a := <-in.pending:
		in.pending = nil
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (in *pipeInput) buffered() *bufio.Reader {
	if in.buf == nil {
		in.buf = bufio.NewReader(in.source)
	}
	return in.buf
}

// readLine reads one line, of which it returns at most limit bytes.
func readLine(r *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part[:min(len(part), limit-len(line))]...)
		switch {
		case err == bufio.ErrBufferFull:
		case err == nil, err == io.EOF && len(line) > 0:
			return strings.TrimRight(string(line), "\r\n"), nil
		default:
			return "", err
		}
	}
}
