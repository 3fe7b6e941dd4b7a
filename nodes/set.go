package nodes

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/images"
)

// Set is a parsed expression that stands for several devices: names, globs, keywords and
// words like tag:x. A comma between them is or, a "+" is and, which binds tighter, and
// "not:" before one is everything else. What it stands for is found inside the
// transaction that uses it. The zero Set is none.
type Set struct {
	any [][]word // of each all, at least one
}

// word is what a set is made of.
type word struct {
	not  bool
	by   string // what begins a word like tag:x, "" of names, globs and keywords
	text string
}

// The words that stand for devices by what is known of them.
const (
	byTag   = "tag"
	byModel = "model"
	byUser  = "user"
	byState = "state"
	byJob   = "job"
)

// setWords are those, in the order in which people are told of them.
var setWords = []string{byTag, byModel, byUser, byState, byJob}

// SetWords returns what begins the words of sets like tag:x, without the colon.
func SetWords() []string { return slices.Clone(setWords) }

// notWord begins a word that stands for everything else.
const notWord = "not"

var termForm = regexp.MustCompile(`^[a-zA-Z0-9*?\[][a-zA-Z0-9*?\[\]^-]*$`)

// ParseSet checks the form of an expression.
func ParseSet(s string) (Set, error) {
	var set Set
	for term := range strings.SplitSeq(s, ",") {
		var all []word
		sides := strings.Split(term, "+")
		for _, side := range sides {
			if side == "" && len(sides) > 1 {
				return Set{}, fault.Usagef("a + in the set %.100q has a word on one side only", s).
					WithHint("+ is and: it stands between two words without spaces, as in model:rpi-3-b+tag:lora")
			}
			w, err := parseWord(side, s)
			if err != nil {
				return Set{}, err
			}
			all = append(all, w)
		}
		set.any = append(set.any, all)
	}
	return set, nil
}

// parseWord checks the form of a word of a set.
func parseWord(s, set string) (w word, err error) {
	text := s
	if begin, rest, is := strings.Cut(s, ":"); is && strings.EqualFold(begin, notWord) {
		w.not, text = true, rest
		if again, _, is := strings.Cut(rest, ":"); rest == "" || is && strings.EqualFold(again, notWord) {
			f := fault.Usagef("not: in the set %.100q has no word behind it", set)
			if rest != "" {
				f = fault.Usagef("the set %.100q says not: twice in a row", set)
			}
			return w, f.WithHint("not: stands before one word, as in not:state:off")
		}
	}
	by, value, is := strings.Cut(text, ":")
	if !is {
		if _, err := path.Match(text, ""); err != nil || !termForm.MatchString(text) {
			return w, fault.Usagef("invalid device set %.100q", set).
				WithHint("a set is names, globs and keywords joined by commas without spaces,\nas in rpi-3,pc-*,my-nodes (see: help show device-sets)")
		}
		w.text = strings.ToLower(text)
		return w, nil
	}
	w.by, w.text = strings.ToLower(by), value
	if w.by != byJob { // whose case tells jobs apart
		w.text = strings.ToLower(value)
	}
	switch {
	case !slices.Contains(setWords, w.by):
		hint := "there are " + strings.Join(setWords, ":, ") + ": and not: (see: help show device-sets)"
		if near := fault.Nearest(w.by, append(SetWords(), notWord)); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, ": or ") + ":?"
		}
		return w, fault.Usagef("unknown word %.70q in the set %.100q", by+":", set).WithHint("%s", hint)
	case w.text == "":
		return w, fault.Usagef("%s: in the set %.100q has nothing behind it", w.by, set).WithHint("it is %s (see: help show device-sets)", wordExamples[w.by])
	case strings.ContainsAny(w.text, globSigns):
		return w, fault.Usagef("globs are for names of devices, not for %.70q", text).WithHint("it is %s; several are joined by commas", wordExamples[w.by])
	}
	return w, w.check()
}

// wordExamples say what the words are.
var wordExamples = map[string]string{
	byTag:   "tag: and a tag, as in tag:lora",
	byModel: "model: and a model, as in model:rpi-3-b",
	byUser:  "user: and a user, as in user:bob",
	byState: "state: and a state, as in state:up",
	byJob:   "job: and a job of yours, as in job:8812",
}

// check checks the form of what a word like tag:x says.
func (w word) check() error {
	var err error
	switch w.by {
	case byTag:
		_, err = ParseTag(w.text)
	case byModel:
		_, err = images.ParseModel(w.text)
	case byJob:
		_, err = ParseJob(w.text)
	case byUser:
		if w.text == string(auth.Nobody) {
			return fault.Usagef("%s is nobody's name", w.text).WithHint("what is free is the set free-nodes")
		}
		if _, err = auth.ParseName(w.text); err != nil {
			err = fault.Usagef("no user can be called %.70q", w.text).WithHint("see all users with: user show")
		}
	case byState:
		if !slices.Contains(States(), State(w.text)) {
			var known []string
			for _, s := range States() {
				known = append(known, string(s))
			}
			f := fault.Unknown("state", []string{w.text}, known, "the states are "+strings.Join(known, ", "))
			f.Kind = fault.Usage
			return f
		}
	}
	return err
}

func (w word) String() string {
	s := w.text
	if w.by != "" {
		s = w.by + ":" + s
	}
	if w.not {
		s = notWord + ":" + s
	}
	return s
}

func (s Set) String() string {
	var any []string
	for _, all := range s.any {
		var words []string
		for _, w := range all {
			words = append(words, w.String())
		}
		any = append(any, strings.Join(words, "+"))
	}
	return strings.Join(any, ",")
}

// IsZero reports whether it is no set.
func (s Set) IsZero() bool { return len(s.any) == 0 }

// only is the set of one device.
func only(n Name) Set { return Set{[][]word{{{text: string(n)}}}} }

// without returns the set without a word that stands alone, and whether that was in it.
func (s Set) without(text string) (rest Set, was bool) {
	rest.any = slices.DeleteFunc(slices.Clone(s.any), func(all []word) bool { return len(all) == 1 && all[0] == word{text: text} })
	return rest, len(rest.any) < len(s.any)
}

// renamed returns the set with another name in the place of one.
func (s Set) renamed(old, name Name) (now Set) {
	for _, all := range s.any {
		all = slices.Clone(all)
		for i, w := range all {
			if w.by == "" && w.text == string(old) {
				all[i].text = string(name)
			}
		}
		now.any = append(now.any, all)
	}
	return now
}

// OfOneself reports whether all that the set stands for is the user's own by its words, as
// my-nodes and job:x are: there may be none of these.
func (s Set) OfOneself() bool {
	return !s.IsZero() && !slices.ContainsFunc(s.any, func(all []word) bool {
		return len(all) > 1 || all[0].not || all[0].by != byJob && all[0] != word{text: myNodes}
	})
}

// ofOwner reports whether the word stands for nodes that somebody has, or for all others.
func (w word) ofOwner() bool {
	return w.by == byUser || w.by == byJob || w.by == "" && w.text == myNodes
}

// ofOwners reports whether it has such a word.
func (s Set) ofOwners() bool {
	return slices.ContainsFunc(s.any, func(all []word) bool { return slices.ContainsFunc(all, word.ofOwner) })
}

// all reports whether the set is but a keyword that selects all devices of a kind, or all
// when that is "": nothing of them needs to be looked for.
func (s Set) all(sc scope) (Kind, bool) {
	switch s.String() {
	case "all-nodes":
		return Node, true
	case "all-devices":
		return sc.kind, true
	}
	return "", false
}

// myNodes stands for the nodes of the user who types it.
const myNodes = "my-nodes"

// freeNodes stands for those of nobody.
const freeNodes = "free-nodes"

// serverKeyword stands for the server, which has no record of its own.
const serverKeyword = "server"

// globSigns are in a word that is a glob.
const globSigns = `*?[`
