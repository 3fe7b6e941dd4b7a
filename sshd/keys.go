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

// keys makes what is typed fit for x/term's line editor, which stalls on bytes
// that are not UTF-8, spins on endless escape sequences, lets a bracketed paste
// grow without bound and takes Ctrl-C for the end of the input.
type keys struct {
	pending []byte // of an escape sequence or a character that is incomplete
	enter   bool   // the last key was Enter
	invalid bool   // something in the line was not UTF-8
	dropped bool   // Ctrl-C gave the line up
}

// sequences are the escape sequences that are understood, without the escape,
// and what the editor is given for them.
var sequences = map[string]string{
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

// add returns what the editor is given for one more byte.
func (k *keys) add(b byte) string {
	k.enter = false
	if b < ' ' || b == backspace {
		k.invalid = k.invalid || len(k.pending) > 0 && k.pending[0] != escape
		k.pending = k.pending[:0]
		return k.control(b)
	}
	if len(k.pending) == 0 && b < utf8.RuneSelf {
		return string(rune(b))
	}
	k.pending = append(k.pending, b)
	if k.pending[0] == escape {
		return k.sequence()
	}
	return k.character()
}

// control returns what a control character stands for; those that the editor
// does not know are ignored.
func (k *keys) control(b byte) string {
	switch b {
	case escape:
		k.pending = append(k.pending, b)
	case ctrlC:
		k.dropped, k.enter = true, true
		return "\x05^C\r" // at the end of the line, for the user to see
	case '\r', '\n':
		k.enter = true
		return "\r"
	case 1, 2, ctrlD, 5, 6, 8, tab, 11, 12, 14, 16, 20, 21, 23, backspace:
		return string(rune(b))
	}
	return ""
}

// sequence returns what an escape sequence stands for when it is complete.
func (k *keys) sequence() string {
	seq := k.pending[1:]
	last := seq[len(seq)-1]
	switch {
	case len(seq) == 1 && (last == '[' || last == 'O'):
		return ""
	case seq[0] == '[' && (last < '@' || last > '~') && len(seq) < 16:
		return ""
	}
	k.pending = k.pending[:0]
	return sequences[string(seq)]
}

// character returns a character when its last byte is there.
func (k *keys) character() string {
	if !utf8.FullRune(k.pending) {
		return ""
	}
	r, _ := utf8.DecodeRune(k.pending)
	k.pending = k.pending[:0]
	switch {
	case r == utf8.RuneError:
		k.invalid = true
	case unicode.IsPrint(r):
		return string(r)
	}
	return ""
}
