package intake

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// kernelStream is that of what kernels say.
const kernelStream = "kernel"

// message is one of a kernel, or a part of one. In netconsole's longer form it has a number
// (Linux Documentation/networking/netconsole.rst, and Documentation/ABI/testing/dev-kmsg for
// what the form says).
type message struct {
	numbered bool
	number   uint64
	age      time.Duration // of the system
	from, of int           // where this part begins, of how many bytes; of is 0 for a whole message
	text     []byte        // in the longer form as it came, with escapes, and lines about its device
}

// extended is what netconsole puts in front of a message in its longer form, behind what a
// kernel says that could not keep up: version, level, number, microseconds, flags.
var extended = regexp.MustCompile(`^(?:\*\* [0-9]+ printk messages dropped \*\*\n)?(?:[0-9]+\.[^,;\n]*,)?[0-9]+,([0-9]{1,19}),([0-9]{1,15}),[^,;\n]{1,8}((?:,[^,;\n]{1,64})*);`)

// fragment is the flag of a part.
var fragment = regexp.MustCompile(`,ncfrag=([0-9]{1,5})/([0-9]{1,5})$`)

func parseKernel(b []byte) message {
	head := extended.FindSubmatch(b)
	if head == nil {
		return message{text: b}
	}
	m := message{numbered: true, text: b[len(head[0]):]}
	m.number, _ = strconv.ParseUint(string(head[1]), 10, 64) // they are numbers, of so many digits
	us, _ := strconv.ParseInt(string(head[2]), 10, 64)
	m.age = time.Duration(us) * time.Microsecond
	if part := fragment.FindSubmatch(head[3]); part != nil {
		m.from, _ = strconv.Atoi(string(part[1]))
		m.of, _ = strconv.Atoi(string(part[2]))
	}
	if m.of > most || m.from >= m.of {
		m.from, m.of = 0, 0 // no kernel says that
	}
	return m
}

// escaped is a byte that the longer form does not have as it is.
var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// lines are those of a message.
func (m message) lines() []string {
	if m.numbered {
		m.text, _, _ = bytes.Cut(m.text, []byte("\n")) // what is behind tells of its device
		m.text = escaped.ReplaceAllFunc(m.text, func(b []byte) []byte {
			c, _ := strconv.ParseUint(string(b[2:]), 16, 8)
			return []byte{byte(c)}
		})
	}
	return strings.Split(string(bytes.TrimRight(m.text, "\r\n\x00")), "\n")
}

// kernel is what is known of a kernel by its last messages.
type kernel struct {
	last    message   // what came last that has a number
	part    message   // what there is of one that has not all come yet; of is 0 for none
	came    time.Time // when the last part of that came
	missing uint64    // messages that did not come, or not all of them, of which nothing was told yet
}

const (
	// clocksDiffer is how much less a message may say of the age of the system than the one
	// before it, on another processor. If it says still less, the system began again.
	clocksDiffer = time.Second
	// partsWait is how long the next part of a message is waited for.
	partsWait = time.Second
)

// take takes a message, and returns the lines that are complete with it.
func (k *kernel) take(m message, now time.Time) (lines []string) {
	if !m.numbered {
		return m.lines()
	}
	if k.part.of > 0 && (m.number != k.part.number || m.from != len(k.part.text) || m.of != k.part.of) {
		lines = k.cut()
	}
	before := k.last
	k.last = message{numbered: true, number: m.number, age: m.age}
	if again := m.age < before.age-clocksDiffer; before.numbered && !again && m.number > before.number {
		k.missing += min(m.number-before.number-1, 1<<32) // whatever it claims
	}
	switch {
	case m.of == 0:
		return append(lines, m.lines()...)
	case m.from == 0:
		k.part = message{numbered: true, number: m.number, of: m.of}
	case k.part.of == 0: // its beginning did not come
		if !before.numbered || m.number != before.number {
			k.missing++
		}
		return append(lines, m.lines()...)
	}
	k.part.text = append(k.part.text, m.text...)
	k.came = now
	if len(k.part.text) < k.part.of {
		return lines
	}
	lines = append(lines, k.part.lines()...)
	k.part = message{}
	return lines
}

// cut returns the lines of a message that has not all come, and will not.
func (k *kernel) cut() []string {
	lines := k.part.lines()
	k.part = message{}
	k.missing++
	return lines
}

// late is cut when the next part was waited for long enough.
func (k *kernel) late(now time.Time) []string {
	if k.part.of == 0 || now.Sub(k.came) < partsWait {
		return nil
	}
	return k.cut()
}

// netconsole takes a packet of a kernel.
func (s *Server) netconsole(src *source, b []byte) (string, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return kernelStream, src.kernel.take(parseKernel(b), time.Now())
}
