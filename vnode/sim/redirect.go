package sim

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// redirect gives a shell other streams; nil leaves one as it is.
func (sh *shell) redirect(in io.Reader, out, err io.Writer) {
	if in != nil {
		sh.in = bufio.NewReader(in)
	}
	if out != nil {
		sh.sink, sh.out = out, bufio.NewWriter(out)
	}
	if err != nil {
		sh.err = err
	}
}

// redirection does one of the redirections of a statement. It returns what is
// to be closed after it.
func (sh *shell) redirection(ctx context.Context, r *syntax.Redirect) (io.Closer, error) {
	if r.Op == syntax.Hdoc || r.Op == syntax.DashHdoc {
		sh.redirect(strings.NewReader(sh.document(ctx, r)), nil, nil)
		return nil, nil
	}
	word := sh.literal(ctx, r.Word)
	fd := ""
	if r.N != nil {
		fd = r.N.Value
	}
	switch r.Op {
	case syntax.RdrIn:
		if fd != "" && fd != "0" {
			return nil, badDescriptor(fd)
		}
		f, err := sh.reader(word)
		if err != nil {
			return nil, fmt.Errorf("can't open %s: %s", word, sh.reason(err))
		}
		sh.redirect(f, nil, nil)
		return f, nil
	case syntax.DplIn:
		switch {
		case fd != "" && fd != "0":
			return nil, badDescriptor(fd)
		case word == "-":
			sh.redirect(strings.NewReader(""), nil, nil)
		case word != "0":
			return nil, badDescriptor(word)
		}
		return nil, nil
	case syntax.RdrOut, syntax.RdrClob, syntax.AppOut:
		if fd != "" && fd != "1" && fd != "2" {
			return nil, badDescriptor(fd)
		}
		f, err := sh.writer(word, r.Op == syntax.AppOut)
		if err != nil {
			return nil, fmt.Errorf("can't create %s: %s", word, sh.reason(err))
		}
		sh.assign(fd, f)
		return f, nil
	case syntax.DplOut:
		to := map[string]io.Writer{"1": sh.sink, "2": sh.err, "-": io.Discard}[word]
		if to == nil || fd != "" && fd != "1" && fd != "2" {
			return nil, badDescriptor(word)
		}
		sh.assign(fd, to)
		return nil, nil
	}
	return nil, fmt.Errorf("%v is not supported", r.Op)
}

// assign makes w the output, or the one for errors when fd is 2.
func (sh *shell) assign(fd string, w io.Writer) {
	if fd == "2" {
		sh.redirect(nil, nil, w)
	} else {
		sh.redirect(nil, w, nil)
	}
}

func badDescriptor(fd string) error { return fmt.Errorf("%s: Bad file descriptor", fd) }

// document returns the text of a here-document.
func (sh *shell) document(ctx context.Context, r *syntax.Redirect) string {
	if r.Hdoc == nil {
		return ""
	}
	text := r.Hdoc.Lit()
	if text == "" || !quotes(r.Word) {
		s, err := expand.Document(sh.words(ctx, r.Hdoc), r.Hdoc)
		sh.must(err)
		text = s
	}
	if r.Op == syntax.DashHdoc {
		lines := strings.SplitAfter(text, "\n")
		for i, line := range lines {
			lines[i] = strings.TrimLeft(line, "\t")
		}
		text = strings.Join(lines, "")
	}
	return text
}

// quotes reports whether the end of a here-document is quoted, so that what is
// in it is not expanded.
func quotes(w *syntax.Word) bool {
	for _, part := range w.Parts {
		if lit, ok := part.(*syntax.Lit); !ok || strings.Contains(lit.Value, "\\") {
			return true
		}
	}
	return false
}

// reader opens a file for reading.
func (sh *shell) reader(name string) (io.ReadCloser, error) {
	if name = sh.abs(name); name == "/dev/stdin" {
		return io.NopCloser(sh.in), nil
	}
	return sh.node.disk.open(name, access{})
}

// writer opens a file for writing at its end, which is its beginning unless what it has is to be kept.
func (sh *shell) writer(name string, keep bool) (io.WriteCloser, error) {
	switch name = sh.abs(name); name {
	case "/dev/stdout":
		return unclosed{sh.sink}, nil
	case "/dev/stderr":
		return unclosed{sh.err}, nil
	}
	return sh.node.disk.open(name, access{write: true, create: true, truncate: !keep, mode: 0o644})
}

type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
