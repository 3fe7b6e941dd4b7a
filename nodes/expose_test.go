package nodes

import (
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/state"
)

// busy is doors of a server on which another program has port 8099.
type busy struct{}

func (busy) Free(port int) error {
	if port == 8099 {
		return fault.Failedf("port 8099 of the server is taken by another program; nothing changed")
	}
	return nil
}

func (busy) Wrong(port int) string { return "" }

// expose has a user expose nodes, as told or with "none".
func (l testLab) expose(t *testing.T, user auth.Name, set, value string) error {
	t.Helper()
	want, _, err := ParseAssignments([]string{"expose=" + value}, func() []string { return nil })
	ok(t, err)
	return errorOf(l.Configure(t.Context(), user, parse(set), true, want, consent.Agreement{Whoever: true}))
}

// exposures are what is exposed, as "PORT:TO NODE OWNER", and "up" of nodes that are.
func (l testLab) exposures(t *testing.T) (all []string) {
	t.Helper()
	found, err := l.Exposures(t.Context())
	ok(t, err)
	for _, e := range found {
		text := e.String() + " " + string(e.Node) + " " + string(e.Owner)
		if e.Up {
			text += " up"
		}
		all = append(all, text)
	}
	return all
}

// Owners expose nodes at ports that are allowed and nobody else's; it ends with the
// ownership.
func TestExpose(t *testing.T) {
	t.Parallel()
	l := newTeam(t) // n1 is bob's, n2 carol's, n3 free
	l.Doors = busy{}
	l.unchanged(t, func() {
		wantFault(t, l.expose(t, "bob", "n1", "8080:80"), fault.Failed, "this server exposes no ports of nodes", "[expose] ports", "ssh -L")
		l.SetExposable(PortRange{8000, 8099})
		wantFault(t, l.expose(t, "bob", "n1", "80:80"), fault.Failed, "port 80 of the server is not for nodes", "from 8000 to 8099")
		wantFault(t, l.expose(t, "bob", "n1", "8099:80"), fault.Failed, "taken by another program")
		wantFault(t, l.expose(t, "bob", "n2", "8080:80"), fault.Failed, "n2 is owned by carol: only who owns a node exposes its ports", "node ask n2")
		wantFault(t, l.expose(t, "alice", "n1", "none"), fault.Failed, "n1 is owned by bob")
		wantFault(t, l.expose(t, "bob", "n3", "8080:80"), fault.Failed, "n3 is nobody's", "node acquire n3")
		for _, bad := range []string{"", "80", ":80", "8080:", "8080:0", "8080:70000", "8080:80,", "8080:80:80", "8080:http", "-1:80", "8080:80,8081", "None"} {
			wantFault(t, l.expose(t, "bob", "n1", bad), fault.Usage, "expose cannot be", "as in 8080:80")
		}
		wantFault(t, l.expose(t, "bob", "n1", "8080:80,8080:81"), fault.Usage, "port 8080 of the server is given twice")
	})
	ok(t, l.expose(t, "bob", "n1", "8080:80,8022:22"))
	equal(t, "exposed", l.exposures(t), "8022:22 n1 bob", "8080:80 n1 bob")
	l.upAt(t, "n1", "10.9.0.1:22")
	ok(t, l.expose(t, "bob", "n1", "8080:81,8023:22"))
	equal(t, "exposed anew", l.exposures(t), "8023:22 n1 bob up", "8080:81 n1 bob up")
	ok(t, l.expose(t, "carol", "n2", "8022:22")) // is given up
	wantFault(t, l.expose(t, "carol", "n2", "8080:80"), fault.Failed, "port 8080 of the server is taken by n1, which is owned by bob", "choose another port")

	// What else the owner says, and another image of the same owner, leave it.
	ok(t, errorOf(l.Note(t.Context(), "bob", Only("n1"), "a demo")))
	ok(t, errorOf(l.Rename(t.Context(), "bob", "n1", "n7", consent.Agreement{})))
	equal(t, "exposed under another name", l.exposures(t), "8022:22 n2 carol", "8023:22 n7 bob up", "8080:81 n7 bob up")
	_, shown := l.configured(t, "n7", "expose")
	equal(t, "shown", []string{shown}, "8080:81,8023:22")
	again := l.again()
	again.SetExposable(PortRange{8000, 8050})
	equal(t, "after a restart that allows less", again.exposures(t), "8022:22 n2 carol", "8023:22 n7 bob")

	// Whoever gets the node next exposes nothing, and its ports are there for others.
	ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("n7"), Remarks{}, consent.Agreement{Whoever: true})))
	equal(t, "after a change of hands", l.exposures(t), "8022:22 n2 carol")
	ok(t, l.expose(t, "carol", "n2", "8080:80"))
	ok(t, errorOf(l.Release(t.Context(), "carol", parse("n2,n7"))))
	equal(t, "of free nodes", l.exposures(t))
	ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n7"), Remarks{}, consent.Agreement{})))
	ok(t, l.expose(t, "bob", "n7", "8080:80"))
	ok(t, errorOf(l.Forget(t.Context(), "bob", Only("n7"), consent.Agreement{})))
	equal(t, "of what is gone", l.exposures(t))
	sound(t, l.Store)
}

// One port is not given to two nodes of a set, and simulated nodes have but one.
func TestExposeSets(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	l.SetExposable(PortRange{8000, 8099})
	l.unchanged(t, func() {
		wantFault(t, l.expose(t, "bob", "v1,v2", "8022:22"), fault.Failed, "port 8022 of the server leads to one node, and these are 2", "give each a port of its own")
		wantFault(t, l.expose(t, "bob", "v1", "8080:80"), fault.Failed, "v1 is simulated: of its ports there is 22 alone")
	})
	ok(t, l.expose(t, "bob", "v1", "8022:22"))
	ok(t, l.expose(t, "bob", "v1,v2", "none"))
	equal(t, "exposed", l.exposures(t))
	rows, err := state.Read(t.Context(), l.Store, func(r state.Reader) ([]string, error) { return exposed.AllKeys(r, "") })
	ok(t, err)
	equal(t, "rows", rows)
}

// configured is a setting of a device, as shown.
func (l testLab) configured(t *testing.T, n Name, key string) (note, value string) {
	t.Helper()
	all, err := l.Settings(t.Context(), "bob", Only(n), true, []string{key})
	ok(t, err)
	for s, err := range all.Each(t.Context()) {
		ok(t, err)
		note, value = s.Note, s.Value
	}
	return note, value
}
