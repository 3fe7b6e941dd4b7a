package sshd

import (
	"unicode"
	"unicode/utf8"
)

const (
	ctrlC     = 3
	ctrlD     = 4
	tab       = 9
	escape    = 27
	backspace = 127
)

// keyDecoder stands between the bytes that a terminal sends and x/term's line
// editor: it decodes escape sequences and UTF-8, and passes on only what the
// editor can take. Alone that would stall on bytes that are not UTF-8, spin on
// endless escape sequences, let a bracketed paste grow without bound and take
// Ctrl-C for the end of the input.
type keyDecoder struct {
	pending     []byte // of an escape sequence or a character that is incomplete
	enter       bool   // the last key was Enter
	notUTF8     bool   // something in the line was not UTF-8
	interrupted bool   // Ctrl-C gave the line up
}

// escapeSequences are those that are understood, without the escape, and what
// the editor is given for them.
var escapeSequences = map[string]string{
	"[A": "\x10", "OA": "\x10", // up
	"[B": "\x0e", "OB": "\x0e", // down
	"[C": "\x06", "OC": "\x06", // right
	"[D": "\x02", "OD": "\x02", // left
	"[H": "\x01", "OH": "\x01", "[1~": "\x01", "[7~": "\x01", // home
	"[F": "\x05", "OF": "\x05", "[4~": "\x05", "[8~": "\x05", // end
	"[3~":   "\x1b[3~",                                           // delete
	"[1;3C": "\x1b[1;3C", "[1;5C": "\x1b[1;3C", "f": "\x1b[1;3C", // a word to the right
	"[1;3D": "\x1b[1;3D", "[1;5D": "\x1b[1;3D", "b": "\x1b[1;3D", // a word to the left
}

// decode returns what the editor is given for one more byte.
func (d *keyDecoder) decode(b byte) string {
	d.enter = false
	if b < ' ' || b == backspace {
		d.notUTF8 = d.notUTF8 || len(d.pending) > 0 && d.pending[0] != escape
		d.pending = d.pending[:0]
		return d.control(b)
	}
	if len(d.pending) == 0 && b < utf8.RuneSelf {
		return string(rune(b))
	}
	d.pending = append(d.pending, b)
	if d.pending[0] == escape {
		return d.escapeSequence()
	}
	return d.character()
}

// control returns what a control character stands for; those that the editor
// does not know are ignored.
func (d *keyDecoder) control(b byte) string {
	switch b {
	case escape:
		d.pending = append(d.pending, b)
	case ctrlC:
		d.interrupted, d.enter = true, true
		return "\x05^C\r" // at the end of the line, for the user to see
	case '\r', '\n':
		d.enter = true
		return "\r"
	case 1, 2, ctrlD, 5, 6, 8, tab, 11, 12, 14, 16, 20, 21, 23, backspace:
		return string(rune(b))
	}
	return ""
}

// escapeSequence returns what an escape sequence stands for when it is complete.
func (d *keyDecoder) escapeSequence() string {
	seq := d.pending[1:]
	last := seq[len(seq)-1]
	switch {
	case len(seq) == 1 && (last == '[' || last == 'O'):
		return ""
	case seq[0] == '[' && (last < '@' || last > '~') && len(seq) < 16:
		return ""
	}
	d.pending = d.pending[:0]
	return escapeSequences[string(seq)]
}

// character returns a character when its last byte is there.
func (d *keyDecoder) character() string {
	if !utf8.FullRune(d.pending) {
		return ""
	}
	r, _ := utf8.DecodeRune(d.pending)
	d.pending = d.pending[:0]
	switch {
	case r == utf8.RuneError:
		d.notUTF8 = true
	case unicode.IsPrint(r), unicode.Is(unicode.Join_Control, r): // the latter join letters, and emoji
		return string(r)
	}
	return ""
}
