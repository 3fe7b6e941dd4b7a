package journal

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func (j *Journal) refuse(t testing.TB, source, login string) {
	t.Helper()
	ok(t, j.Refused(t.Context(), source, Event{Type: LoginRefused, From: source, To: login, Detail: "unknown key"}))
}

// counts returns whom the events are of, and how often.
func (j *Journal) counts(t testing.TB) (all []string) {
	t.Helper()
	ok(t, j.History(t.Context(), At(time.Time{}), At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), nil, Each(func(e Event) error {
		all = append(all, fmt.Sprintf("%s %s %d", e.From, e.To, e.Count))
		return nil
	})))
	return all
}

func TestRepeatsFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		for range 3 {
			j.refuse(t, "here", "root")
			time.Sleep(time.Minute)
			j.refuse(t, "there", "root")
		}
		j.refuse(t, "here", "admin")
		want(t, "repeats", j.counts(t), "here root 3", "there root 3", "here admin 1")
		time.Sleep(foldFor)
		j.refuse(t, "here", "root")
		want(t, "an hour later", j.counts(t), "here root 3", "there root 3", "here admin 1", "here root 1")
	})
}

func TestOneSourceHasFewEvents(t *testing.T) {
	j := newJournal(t)
	for i := range 100 {
		j.refuse(t, "here", fmt.Sprint("guess", i))
	}
	all := j.counts(t)
	if len(all) != eachSource+1 || all[eachSource] != "here several names 92" {
		t.Errorf("100 different logins of one source: %q", all)
	}
}

// Refused logins push out their like, and nothing else.
func TestStrangersDoNotWashHistoryAway(t *testing.T) {
	j := newJournal(t)
	j.add(t, "acquired")
	for i := range 10 {
		j.refuse(t, fmt.Sprint("host", i), "root")
	}
	j.add(t, "released")
	for i := range 10 {
		ok(t, j.Add(t.Context(), Event{Type: State, Detail: fmt.Sprint("up", i)}))
	}
	ok(t, j.trim(t.Context(), 2, 1, 3))
	want(t, "kept", j.all(t), "acquired", "unknown key", "unknown key", "unknown key", "released", "up9")
}

func TestSourcesAreBounded(t *testing.T) {
	j := newJournal(t)
	now := time.Now()
	r := &j.refusals
	for i := range 3 * keepSources {
		source := fmt.Sprint(i)
		r.sources[source] = append(r.sources[source], r.find(source, Event{}, now))
	}
	if len(r.sources) > keepSources {
		t.Errorf("%d sources are remembered", len(r.sources))
	}
}
