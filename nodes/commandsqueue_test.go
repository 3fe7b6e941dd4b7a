package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"walt/auth"
	"walt/images"
)

// waitCommand has a user wait for nodes, or come back after the server ended.
func (m *model) waitCommand(user auth.Name) command {
	wi := wish{user: user, n: 1 + m.rand.IntN(3), model: pick(m, images.Model(""), "m1", "m1", "m2", "m2", "m4"), say: m.remarks()}
	switch m.rand.IntN(4) {
	case 0:
		wi.n, wi.model, wi.set = 0, "", m.set(func(d thing) bool { return d.kind == Node && d.image.User != user })
	case 1:
		if wi.set = m.set(func(d thing) bool { return d.kind == Node }); strings.ContainsAny(wi.set, "-:") { // who is meant changes
			wi.set = "n*"
		}
	}
	for _, old := range m.world.wishes {
		if back, here := m.typed[old.line]; here && old.client == 0 && m.rand.IntN(2) == 0 {
			wi = back
			if wi.say.job != "" && m.rand.IntN(3) == 0 {
				wi.say.note = "again"
			}
		}
	}
	if at := wi.say.end.At; !at.IsZero() { // when nothing else happens
		wi.say.end.At = at.Truncate(time.Second).Add(250*time.Millisecond + time.Duration(m.came)*time.Microsecond)
	}
	wi.line = fmt.Sprintf("%s: wait for %d of %q %s%s", wi.user, wi.n, wi.model, wi.set, wi.say)
	m.typed[wi.line] = wi
	m.came++
	wi.client = m.came
	c := client{how: pick(m, answers, answers, answers, answers, stuck, stuck, isGone)}
	if others := slices.Collect(maps.Values(m.world.clients)); slices.ContainsFunc(others, func(c client) bool { return c.how == isGone }) {
		c.how = answers // else who of both finds out first decides who gets what
	}
	text := wi.line
	if m.rand.IntN(4) == 0 {
		c.deadline = m.world.now.Add(time.Duration(1+m.rand.IntN(900))*time.Second + time.Millisecond/2)
		text += ", until " + clock(c.deadline)
	}
	want := Want{Some: Some{N: wi.n, Model: wi.model}, Remarks: wi.say.of()}
	if wi.n == 0 {
		want.Set = parse(wi.set)
	} else if wi.set != "" {
		want.Some.Set = parse(wi.set)
	}
	return command{
		text: fmt.Sprintf("%s (client %d, %s)", text, wi.client, c.how),
		do: func(w *world) string {
			next := w.clone()
			next.clients[wi.client] = c
			if end := next.arrive(wi); end != done {
				w.clients[wi.client] = client{end: end} // of which it is told as of whatever else becomes of it
				return done
			}
			*w = *next
			return done
		},
		ask: func(ctx context.Context, l testLab) (Result, error) {
			p := m.begin(ctx, l, wi.user, want, wi.line, wi.client, c)
			select {
			case <-p.begun:
				return Result{}, nil
			case <-p.asked: // it was granted at once, by what interrupted it
				return Result{}, nil
			case <-m.store.died:
				return Result{}, errCrash
			case <-p.ended:
				if errors.Is(p.err, errCrash) {
					return Result{}, errCrash
				}
				return p.result, nil
			}
		},
		picks:  true,
		client: wi.client,
	}
}

// clientCommand has one who waits not wait any longer, or answer at last.
func (m *model) clientCommand() command {
	var ids []int
	for id, p := range m.patients {
		if !isClosed(p.ended) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return m.returnCommand(m.user())
	}
	slices.Sort(ids)
	id := pick(m, ids...)
	p := m.patients[id]
	if how := pick(m, answers, isGone, stuck); how != stuck && m.world.clients[id].how == stuck && (m.world.isGranted(id) || m.world.clients[id].end != "") {
		return command{
			text: fmt.Sprintf("client %d: %s", id, how),
			do: func(w *world) string {
				c := w.clients[id]
				c.how = how
				w.clients[id] = c
				return done
			},
			ask: func(context.Context, testLab) (Result, error) {
				p.says <- how == answers
				return Result{}, nil
			},
			alone: true,
		}
	}
	return command{
		text: fmt.Sprintf("client %d: Ctrl-C", id),
		do: func(w *world) string {
			end := "quit"
			if w.isGranted(id) {
				end = "cancelled"
			}
			if i := slices.IndexFunc(w.wishes, func(wi wish) bool { return wi.client == id }); i >= 0 {
				w.drop("", w.wishes[i].id, end)
			}
			return done
		},
		ask: func(context.Context, testLab) (Result, error) {
			p.leave()
			<-p.ended
			if errors.Is(p.err, errCrash) {
				return Result{}, errCrash
			}
			return Result{}, nil
		},
		alone: true,
	}
}

// isGranted reports whether the wish of a client is granted, which was not told yet.
func (w *world) isGranted(client int) bool {
	return slices.ContainsFunc(w.wishes, func(wi wish) bool { return wi.client == client && wi.granted() })
}

func (m *model) cancelCommand(user auth.Name) command {
	id, any := 1+m.rand.IntN(m.world.last+1), m.rand.IntN(2) == 0
	if len(m.world.wishes) > 0 {
		id = pick(m, m.world.wishes...).id
	}
	return command{
		text: fmt.Sprintf("%s: cancel wish %d, any: %v", user, id, any),
		do:   func(w *world) string { return w.cancel(user, id, any) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return Result{}, l.CancelWish(ctx, user, id, any)
		},
	}
}

func (m *model) extendCommand(user auth.Name) command {
	user = m.owner(user)
	set, end := m.ownSet(user), m.end()
	return command{
		text: fmt.Sprintf("%s: extend %s%s", user, set, remarks{end: end}),
		do:   func(w *world) string { return w.extend(user, set, end) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return Result{}, errorOf(l.Extend(ctx, user, parse(set), end, false))
		},
	}
}

// sayCommand notes something of nodes, or shares them.
func (m *model) sayCommand(user auth.Name) command {
	user = m.owner(user)
	set, note, mate := m.ownSet(user), pick(m, "", "x", "y"), m.user()
	if m.rand.IntN(2) == 0 {
		return command{
			text: fmt.Sprintf("%s: note %s %s", user, set, note),
			do:   func(w *world) string { return w.revise(user, set, func(s *said) { s.note = note }) },
			ask: func(ctx context.Context, l testLab) (Result, error) {
				return Result{}, errorOf(l.Note(ctx, user, parse(set), note))
			},
		}
	}
	return command{
		text: fmt.Sprintf("%s: share %s with %s", user, set, mate),
		do: func(w *world) string {
			if mate == user {
				return usage
			}
			if !w.here(mate) {
				return failed
			}
			return w.revise(user, set, func(s *said) { s.mates = " " + string(mate) })
		},
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return Result{}, errorOf(l.Share(ctx, user, parse(set), []auth.Name{mate}))
		},
	}
}

func (m *model) retireCommand(user auth.Name) command {
	set := m.set(func(d thing) bool { return d.kind == Node })
	given := m.consent(user, set, (*world).facts)
	return command{
		text: fmt.Sprintf("%s: retire %s %v", user, set, given),
		do:   func(w *world) string { return w.retire(user, set, given) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return Result{}, errorOf(l.Retire(ctx, user, parse(set), "", given))
		},
	}
}

func (m *model) returnCommand(user auth.Name) command {
	set := m.set(func(d thing) bool { return d.retired != "" })
	return command{
		text: fmt.Sprintf("%s: return %s", user, set),
		do:   func(w *world) string { return w.giveBack(user, set) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return Result{}, errorOf(l.Return(ctx, user, parse(set)))
		},
	}
}

// owner is somebody who has nodes, or the user.
func (m *model) owner(user auth.Name) auth.Name {
	for _, n := range m.names() {
		if owner := m.world.things[n].image.User; owner != auth.Nobody && owner != "" && m.rand.IntN(3) == 0 {
			user = owner
		}
	}
	return user
}

// ownSet is mostly of nodes of the user.
func (m *model) ownSet(user auth.Name) string {
	if m.rand.IntN(4) == 0 {
		return pick(m, "job:j1", "job:j2", "my-nodes")
	}
	return m.set(func(d thing) bool { return d.image.User == user })
}

// remarks are mostly none.
func (m *model) remarks() (r remarks) {
	if m.rand.IntN(2) == 0 {
		return r
	}
	r = remarks{job: pick(m, Job(""), "j1", "j2"), note: pick(m, "", "", "a", "b")}
	if m.rand.IntN(2) == 0 {
		r.end = m.end()
	}
	return r
}

// end is when a hold ends, in minutes to come, or a moment ago.
func (m *model) end() End {
	at := m.world.now.Truncate(time.Second).Add(time.Duration(m.rand.IntN(1000)-5) * time.Second)
	return pick(m, End{After: time.Duration(1+m.rand.IntN(1000)) * time.Second}, End{At: at}, End{Never: true})
}

// String is as a user types them, behind a blank.
func (r remarks) String() string {
	var all strings.Builder
	if r.job != "" {
		all.WriteString(" --job " + string(r.job))
	}
	if r.note != "" {
		all.WriteString(" --note " + r.note)
	}
	switch {
	case r.end.Never:
		all.WriteString(" never")
	case r.end.After > 0:
		fmt.Fprintf(&all, " --for %s", r.end.After)
	case !r.end.At.IsZero():
		fmt.Fprintf(&all, " --until %s", clock(r.end.At))
	}
	return all.String()
}

func (a answer) String() string {
	return cmp.Or(map[answer]string{isGone: "gone", stuck: "stuck"}[a], "answers")
}
