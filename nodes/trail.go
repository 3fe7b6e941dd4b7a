package nodes

import (
	"context"
	"slices"
	"time"
)

// Leg is a step that a boot reached, and what it took over the network on the way there.
type Leg struct {
	Step  Step          // as its Word
	At    time.Time     // when it was reached, UTC; zero: it was not yet
	Bytes int64         // of files that were sent for it
	Took  time.Duration // for which they were sent
}

// Rate is how many bytes were sent in a second, 0 when there were none.
func (l Leg) Rate() int64 {
	if l.Bytes == 0 || l.Took <= 0 {
		return 0
	}
	return int64(float64(l.Bytes) / l.Took.Seconds())
}

// Refusal is a file that a node asked for and did not get.
type Refusal struct {
	At    time.Time // the last time, UTC
	File  string
	Why   string // in words for users
	Times int
}

const (
	refusals    = 8   // that are kept of a boot, the last ones
	refusedName = 240 // characters of each file, and of why
)

// Trail is what the last boot of a node left: in the order of its steps, and of the times
// at which it was refused something.
type Trail struct {
	Legs    []Leg
	Refused []Refusal
}

// trail is that of a node, as the board keeps it.
type trail struct{ Trail }

// reach notes that a step was reached. One that comes before others that were belongs to
// another boot.
func (t *trail) reach(step Step, at time.Time) {
	word := Step(step.Word())
	before := slices.ContainsFunc(t.Legs, func(l Leg) bool {
		return !l.At.IsZero() && (l.Step.order() > word.order() || l.Step == StepAddress && step == StepAddress)
	})
	if before || word == StepNone {
		*t = trail{}
	}
	if l := t.leg(word); l.At.IsZero() {
		l.At = at
	}
}

// leg returns that of a step, in the order of which they are.
func (t *trail) leg(word Step) *Leg {
	at, found := slices.BinarySearchFunc(t.Legs, word, func(l Leg, s Step) int { return l.Step.order() - s.order() })
	if !found {
		t.Legs = slices.Insert(t.Legs, at, Leg{Step: word})
	}
	return &t.Legs[at]
}

// refuse notes a file that was refused.
func (t *trail) refuse(r Refusal) {
	if i := slices.IndexFunc(t.Refused, func(o Refusal) bool { return o.File == r.File && o.Why == r.Why }); i >= 0 {
		r.Times += t.Refused[i].Times
		t.Refused = slices.Delete(t.Refused, i, i+1)
	}
	if len(t.Refused) == refusals {
		t.Refused = slices.Delete(t.Refused, 0, 1)
	}
	t.Refused = append(t.Refused, r)
}

// follow has the board keep the trail of a node from now on, and calls f with it.
func (b *board) follow(n Name, f func(*trail)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.trails[n]
	if t == nil {
		t = &trail{}
		b.trails[n] = t
		if s := b.all[n]; s != nil && s.Step != "" {
			t.reach(s.Step, s.StepSince)
		}
	}
	f(t)
}

// Trail returns what the last boot of a node left, as far as the server was there.
func (l *Lab) Trail(n Name) Trail {
	b := l.status
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.trails[n]; t != nil {
		return Trail{slices.Clone(t.Legs), slices.Clone(t.Refused)}
	}
	return Trail{}
}

// Sent is called when a file was sent to a node, or a part of one, with the step that it
// is for, the bytes and how long that took.
func (l *Lab) Sent(ctx context.Context, n Name, step Step, bytes int64, took time.Duration) {
	if _, here := l.inView(ctx, n); !here {
		return
	}
	l.status.follow(n, func(t *trail) {
		leg := t.leg(Step(step.Word()))
		leg.Bytes += bytes
		leg.Took += took
	})
}

// Refused is called when a node asked for a file that it does not get. Of a boot the last
// ones are kept, each of them once; no log tells them.
func (l *Lab) Refused(ctx context.Context, n Name, file, why string) {
	if _, here := l.inView(ctx, n); !here {
		return
	}
	l.status.follow(n, func(t *trail) {
		t.refuse(Refusal{At: l.Now().UTC(), File: short(file), Why: short(why), Times: 1})
	})
}

// short is the begin of a text that a node chose, on one line.
func short(text string) string {
	r := []rune(Plain(text))
	return string(r[:min(len(r), refusedName)])
}
