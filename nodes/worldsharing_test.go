package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/auth"
	"walt/consent"
)

// askers are those names alone.
func (d said) askers() (names []string) {
	for ask := range strings.FieldsSeq(d.asks) {
		name, _, _ := strings.Cut(ask, "@")
		names = append(names, name)
	}
	return names
}

func (r remarks) of() Remarks { return Remarks{Job: r.job, Note: r.note, End: r.end} }

// over reports whether the hold would be over already.
func (r remarks) over(now time.Time) bool { return !r.end.At.IsZero() && !r.end.At.After(now) }

func (d *thing) say(r remarks, now time.Time) {
	if d.job = cmp.Or(r.job, d.job); r.note != "" {
		d.note = r.note
	}
	switch end := r.end; {
	case end.Never:
		d.until = time.Time{}
	case end.After > 0: // at a whole second
		if d.until = now.Add(end.After).Truncate(time.Second); d.until.Before(now.Add(end.After)) {
			d.until = d.until.Add(time.Second)
		}
	case !end.At.IsZero():
		d.until = end.At
	}
}

// lessWords returns the words in front of which a blank is, but for some.
func lessWords(words string, not func(string) bool) (rest string) {
	for word := range strings.FieldsSeq(words) {
		if !not(word) {
			rest += " " + word
		}
	}
	return rest
}

// ask has a user ask for nodes.
func (w *world) ask(user auth.Name, set string) string {
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) {
		return failed
	}
	times := map[auth.Name]map[string]bool{} // when the user asked each owner, within an hour
	for _, d := range w.things {
		for ask := range strings.FieldsSeq(d.asks) {
			name, at, _ := strings.Cut(ask, "@")
			if when, _ := time.Parse(time.RFC3339Nano, at); name == string(user) && w.now.Sub(when) < time.Hour {
				if times[d.image.User] == nil {
					times[d.image.User] = map[string]bool{}
				}
				times[d.image.User][at] = true
			}
		}
	}
	for _, n := range names {
		if d := w.things[n]; d.image.User == user || d.free() || d.retired != "" {
			return failed
		}
	}
	for _, n := range names {
		d := w.things[n]
		if slices.Contains(d.askers(), string(user)) {
			continue
		}
		if len(times[d.image.User]) >= asksAnHour {
			return inUse
		}
		d.asks += fmt.Sprintf(" %s@%s", user, w.now.Format(time.RFC3339Nano))
		w.things[n] = d
	}
	return done
}

// give has a user hand nodes over.
func (w *world) give(user auth.Name, set string, to auth.Name) string {
	if user == to {
		return usage
	}
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) || !w.here(to) {
		return failed
	}
	asked := true
	if !w.owns(user, names) {
		return failed
	}
	for _, n := range names {
		asked = asked && slices.Contains(w.things[n].askers(), string(to))
	}
	if !asked {
		return inUse
	}
	for _, n := range names {
		from := w.things[n].image
		img := w.images[from]
		img.Ref.User = to
		for i := 2; w.images[img.Ref].Digest != "" && w.images[img.Ref].Digest != img.Digest; i++ {
			img.Ref.Name = fmt.Sprintf("%s-%d", from.Name, i)
		}
		if _, here := w.images[img.Ref]; !here {
			w.images[img.Ref] = img
		}
		w.boot(user, n, img.Ref, remarks{})
	}
	return done
}

// extend sets anew when holds end.
func (w *world) extend(user auth.Name, set string, end End) string {
	return w.revising(user, set, func(n Name, s *said) string {
		was := s.until
		switch {
		case end.After == 0:
			d := thing{}
			d.say(remarks{end: end}, w.now)
			s.until = d.until
		case !was.IsZero():
			d := thing{}
			d.say(remarks{end: end}, later(was, w.now))
			s.until = d.until
		}
		longer := !was.IsZero() && (s.until.IsZero() || s.until.After(was))
		if longer && len(w.waitingFor(n, user)) > 0 {
			return inUse
		}
		return done
	})
}

// revise has a user say something else of nodes.
func (w *world) revise(user auth.Name, set string, change func(*said)) string {
	return w.revising(user, set, func(_ Name, s *said) string {
		change(s)
		return done
	})
}

func (w *world) revising(user auth.Name, set string, change func(Name, *said) string) string {
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) || !w.owns(user, names) {
		return failed
	}
	for _, n := range names {
		d := w.things[n]
		if end := change(n, &d.said); end != done {
			return end
		}
		w.things[n] = d
	}
	return done
}

// retire takes nodes out of service.
func (w *world) retire(user auth.Name, set string, c consent.Agreement) string {
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) {
		return failed
	}
	facts := w.facts(user, names)
	if end := agreed(c, facts); end != done {
		return end
	}
	for _, n := range names {
		d := w.things[n]
		d.retired = user
		w.things[n] = d
	}
	return done
}

// giveBack returns nodes to service.
func (w *world) giveBack(user auth.Name, set string) string {
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) {
		return failed
	}
	for _, n := range names {
		d := w.things[n]
		d.retired = ""
		w.things[n] = d
	}
	return done
}

// said is what the owner of a node says of it.
type said struct {
	until time.Time
	job   Job
	note  string
	mates string // each behind a blank
	asks  string // who would like it, each behind a blank, with the time behind @
}

// remarks are those of a command.
type remarks struct {
	job  Job
	note string
	end  End
}
