package nodelogs

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"

	"walt/auth"
	"walt/ethernet"
)

// A line in a file: when it came in microseconds since 1970, the owner, the stream and the
// text, with tabs between, and a newline.

func appendLine(b []byte, at int64, owner auth.Name, stream, text string) []byte {
	b = strconv.AppendInt(b, at, 10)
	for _, part := range []string{string(owner), stream, text} {
		b = append(append(b, '\t'), part...)
	}
	return append(b, '\n')
}

// parseLine is the other way round, of a line without its newline; false for what is none, as
// the end of a file that an end of the server has cut off.
func parseLine(node ethernet.MAC, b []byte) (Line, bool) {
	head, rest, _ := bytes.Cut(b, []byte("\t"))
	owner, rest, _ := bytes.Cut(rest, []byte("\t"))
	stream, text, ok := bytes.Cut(rest, []byte("\t"))
	at, err := strconv.ParseInt(string(head), 10, 64)
	if err != nil || !ok {
		return Line{}, false
	}
	return Line{time.UnixMicro(at).UTC(), node, auth.Name(owner), string(stream), string(text)}, true
}

// plainStream makes what a node calls a stream one word.
func plainStream(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	if s == "" {
		return "-"
	}
	return shortened(s, mostStream)
}

// plainText makes what a node says one line; one that is cut ends with "…".
func plainText(s string) string {
	s = strings.TrimRight(s, "\r\n\x00")
	cut := len(s) > mostText
	if cut {
		s = s[:mostText]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if cut || len(s) > mostText {
		s = shortened(s, mostText-len("…")) + "…"
	}
	return strings.ReplaceAll(s, "\n", "\r")
}

// shortened cuts valid UTF-8 between two characters.
func shortened(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
