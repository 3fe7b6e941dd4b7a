package nodes

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"walt/auth"
	"walt/fault"
	"walt/images"
)

// Remarks are what the owner of a node has the lab and others know of it. They are written
// in the transaction that makes it boot the owner's image, or later by the owner, and end
// with the ownership, of which they are no part: the zero Remarks say nothing.
type Remarks struct {
	Until time.Time   `json:"until,omitzero"`  // when the server releases it, UTC; zero: never
	End   End         `json:"end,omitzero"`    // when that is to be, as a command says; a node has Until alone
	Tied  bool        `json:"tied,omitempty"`  // held only while its owner is connected, see Lab.Tie
	Job   Job         `json:"job,omitempty"`   // that it was taken for
	Note  string      `json:"note,omitempty"`  // for people, see ParseNote
	Mates []auth.Name `json:"mates,omitempty"` // who are not asked before they use it, sorted; see Share
	Asks  []Ask       `json:"asks,omitempty"`  // who would like to have it, in the order of their coming

	Exposed []Exposed `json:"exposed,omitempty"` // ports of it, to whoever reaches the server
}

// empty reports whether nothing is said.
func (r Remarks) empty() bool {
	return r.Until.IsZero() && r.End == (End{}) && !r.Tied && r.Job == "" && r.Note == "" && len(r.Mates) == 0 && len(r.Asks) == 0 && len(r.Exposed) == 0
}

// Remarks returns what the owner says of the node.
func (d Device) Remarks() Remarks {
	if d.Said == nil {
		return Remarks{}
	}
	return *d.Said
}

// say has a node hold remarks in the place of those that it has.
func (d *Device) say(r Remarks) {
	d.Said = nil
	if !r.empty() {
		d.Said = &r
	}
}

// over returns the remarks with those of later in the place of the same, but for the end.
func (r Remarks) over(later Remarks) Remarks {
	r.Tied = r.Tied || later.Tied
	if later.Job != "" {
		r.Job = later.Job
	}
	if later.Note != "" {
		r.Note = later.Note
	}
	return r
}

// Job names what a user takes nodes for, as a run of CI. It is the user's own word:
// others' jobs of that name are other jobs.
type Job string

var jobForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)

// ParseJob checks the form of a job's name: 1 to 64 of letters, digits, ".", "_" and "-".
func ParseJob(s string) (Job, error) {
	if !jobForm.MatchString(s) {
		return "", fault.Usagef("invalid job %.70q", s).WithHint("a job is named by 1 to 64 of letters, digits, ., _ and -, as in 8812 or build-7.test_3")
	}
	return Job(s), nil
}

// ParseNote checks a text for people, as a note: at most 80 characters, all of them visible.
func ParseNote(s string) (string, error) {
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Zs, r) { // also wide ones, and what came of copying
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	if n := utf8.RuneCountInString(s); n > 80 {
		return "", fault.Usagef("the text has %d characters, of which 80 are possible", n).WithHint("say it shorter")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
		return "", fault.Usagef("the text %.100q has characters that cannot be shown", s).WithHint("write it in one line of text")
	}
	return s, nil
}

// Marks are what administrators and users have the lab know of a device, whoever owns it, and
// what its firmware told. They are not changed in place, see mark.
type Marks struct {
	Tags    []string     `json:"tags,omitempty"` // sorted
	Retired *Retired     `json:"retired,omitempty"`
	Arch    Arch         `json:"arch,omitempty"`    // see Device.Arch
	Becomes images.Model `json:"becomes,omitempty"` // see Device.Becomes
}

// mark changes the marks of a device; one without any has none in memory.
func (d *Device) mark(change func(*Marks)) {
	var m Marks
	if d.Marks != nil {
		m = *d.Marks
	}
	change(&m)
	if d.Marks = &m; len(m.Tags) == 0 && m.Retired == nil && m.Arch == "" && m.Becomes == "" {
		d.Marks = nil
	}
}

// Arch is what the firmware of the device told first, "" when it did not tell.
func (d *Device) Arch() Arch {
	if d.Marks == nil {
		return ""
	}
	return d.Marks.Arch
}

// Becomes is the model that a user set of a free node, while the default image of that is not
// here, "" for none.
func (d *Device) Becomes() images.Model {
	if d.Marks == nil {
		return ""
	}
	return d.Marks.Becomes
}

// becomes notes that.
func (d *Device) becomes(m images.Model) { d.mark(func(is *Marks) { is.Becomes = m }) }

// Retired says that a node is out of service.
type Retired struct {
	By    auth.Name `json:"by"`
	Since time.Time `json:"since"`
	Why   string    `json:"why,omitempty"`
}

// Tags returns the words that the device is marked with, sorted, not to be changed.
func (d *Device) Tags() []string {
	if d.Marks == nil {
		return nil
	}
	return d.Marks.Tags
}

// Retired returns why the device is out of service, nil when it is not.
func (d *Device) Retired() *Retired {
	if d.Marks == nil {
		return nil
	}
	return d.Marks.Retired
}
