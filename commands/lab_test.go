package commands

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/console"
	"walt/history"
	"walt/images"
	"walt/journal"
	"walt/nodelogs"
	"walt/nodes"
	"walt/power"
	"walt/power/snmp"
	"walt/state"
	"walt/state/badger"
)

// noon is when the time of every test begins.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// testLab is a lab with three users, alice among them the administrator, and four
// nodes: rpi-1, rpi-2 and rpi-10 (rpi-3-b, physical) and pc-1 (pc-x86-64,
// virtual). All are free.
type testLab struct {
	t         *testing.T
	app       *App
	store     *badger.Store
	nodes     *nodes.Lab
	users     *auth.Users
	journal   *journal.Journal
	rack      *rack
	serverLog *bytes.Buffer
	outlets   outlets

	mu     sync.Mutex
	time   time.Time
	online map[auth.Name]bool
	cuts   []string // "user key" of the sessions that were ended
}

func newTestLab(t *testing.T) *testLab {
	t.Helper()
	store, err := badger.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	lab := &testLab{t: t, store: store, serverLog: &bytes.Buffer{}, time: noon, online: map[auth.Name]bool{}}
	lab.journal = journal.New(store, lab.now)
	lab.users = auth.New(store, lab.journal, lab.now)
	library, err := images.Open(t.TempDir(), store, lab.journal, images.KnownPlatforms(), lab.now)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(lab.serverLog, nil))
	catalog := images.NewCatalog(images.Config{
		Store: store, Journal: lab.journal, Content: library, Log: log, Now: lab.now, Retry: time.Minute,
	})
	ports := power.New(power.Config{
		Store: store, Journal: lab.journal, Log: log, Now: lab.now,
		Dial: func(snmp.Switch) (power.Agent, error) { return &lab.outlets, nil },
	})
	lines := console.New(console.Config{Dir: t.TempDir(), Log: log, Now: lab.now})
	t.Cleanup(lines.Close)
	lab.nodes = nodes.New(nodes.Config{
		Store: store, Journal: lab.journal, Users: lab.users, Images: catalog, Ports: ports, Key: signer("lab"), IP: "192.0.2.1",
		Lines: lines, Log: log, Now: lab.now,
	})
	lines.Term = lab.nodes.Term
	catalog.Nodes, ports.Devices = lab.nodes, lab.nodes
	lab.rack = &rack{lab: lab.nodes}
	lab.nodes.Hosts = map[nodes.HostKind]nodes.Host{nodes.Simulated: lab.rack}
	lab.app = New(Services{
		Lab: lab.nodes, Images: catalog, Library: library, Users: lab.users, Journal: lab.journal, NodeLogs: lab.nodeLogs(log), History: history.New(store),
		Online: func(n auth.Name) bool { return lab.online[n] },
		Cut:    func(n auth.Name, key string) { lab.cuts = append(lab.cuts, string(n)+" "+key) },
		Backup: func(_ context.Context, out io.Writer) (string, error) {
			_, err := io.WriteString(out, "all data")
			return "it all", err
		},
		HostKeys: []ssh.PublicKey{signer("server").PublicKey()}, HostCA: signer("host ca").PublicKey(),
		Version: "1.2", Log: log, Now: lab.now,
	})
	lab.populate()
	return lab
}

// nodeLogs keeps what nodes say until the test ends.
func (lab *testLab) nodeLogs(log *slog.Logger) *nodelogs.Store {
	s := nodelogs.Open(lab.t.TempDir(), log, lab.now)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { lab.must(s.Run(ctx)) })
	lab.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return s
}

func (lab *testLab) populate() {
	lab.addDefault("rpi-3-b")
	lab.addDefault("pc-x86-64")
	lab.must(lab.users.Ensure(lab.t.Context(), "alice", publicKey("alice")))
	for _, name := range []auth.Name{"bob", "carol"} {
		_, err := lab.users.Add(lab.t.Context(), "alice", name, false, publicKey(string(name)))
		lab.must(err)
	}
	for _, a := range []nodes.Announcement{
		{Name: "rpi-1", MAC: "52:54:00:00:00:01", Model: "rpi-3-b"},
		{Name: "rpi-2", MAC: "52:54:00:00:00:02", Model: "rpi-3-b"},
		{Name: "rpi-10", MAC: "52:54:00:00:00:10", Model: "rpi-3-b"},
		{Name: "pc-1", MAC: "52:54:00:00:01:01", Model: "pc-x86-64", Host: nodes.Simulated},
	} {
		_, err := lab.nodes.Register(lab.t.Context(), "alice", a)
		lab.must(err)
	}
}

// addDefault puts a default image for the models there, under the name of the
// first; its content does not exist.
func (lab *testLab) addDefault(models ...images.Model) {
	lab.addImage(images.Image{Ref: images.DefaultRef(models[0]), Models: models})
}

func (lab *testLab) addImage(img images.Image) {
	if img.Digest == "" {
		img.Digest = "sha256:" + strings.Repeat("0", 60) + "beef"
	}
	img.Created, img.Size = noon.Add(-48*time.Hour), 1234567
	_, err := lab.store.Update(lab.t.Context(), func(tx state.Tx) error { return images.Put(tx, img) })
	lab.must(err)
}

func (lab *testLab) must(err error) {
	lab.t.Helper()
	if err != nil {
		lab.t.Fatal(err)
	}
}

func (lab *testLab) now() time.Time {
	lab.mu.Lock()
	defer lab.mu.Unlock()
	return lab.time
}

func (lab *testLab) pass(d time.Duration) {
	lab.mu.Lock()
	defer lab.mu.Unlock()
	lab.time = lab.time.Add(d)
}

// answer is what came of one command line.
type answer struct {
	stdout, stderr string
	status         int
}

// run runs one command line of a user in a session without a terminal.
func (lab *testLab) run(user auth.Name, line, stdin string) answer {
	lab.t.Helper()
	return lab.runIn(lab.t.Context(), lab.session(user, stdin), line)
}

// ok runs a command line that must succeed, and returns its standard output.
func (lab *testLab) ok(user auth.Name, line string) string {
	lab.t.Helper()
	got := lab.run(user, line, "")
	if got.status != StatusDone {
		lab.t.Fatalf("%s: %s: status %d: %s", user, line, got.status, got.stderr)
	}
	return got.stdout
}

// silent is what is noted when a registry is not heard for a second: on a busy machine, any.
var silent = regexp.MustCompile(`(?m)^Waiting for registry .*\n`)

func (lab *testLab) runIn(ctx context.Context, s *Session, line string) answer {
	var stdout, stderr bytes.Buffer
	s.Out, s.Err = &stdout, &stderr
	status := lab.app.Run(ctx, s, line)
	return answer{stdout.String(), silent.ReplaceAllString(stderr.String(), ""), status}
}

// session is what sshd makes for a client without a terminal: a question is
// answered by a line of its input. Its Out and Err are the caller's.
func (lab *testLab) session(user auth.Name, stdin string) *Session {
	in := strings.NewReader(stdin)
	s := &Session{
		User: user, Admin: user == "alice", Key: ssh.FingerprintSHA256(signer(string(user)).PublicKey()),
		Client: netip.MustParseAddr("192.0.2.7"), In: in,
	}
	s.Ask = func(_ context.Context, prompt string) (string, error) {
		io.WriteString(s.Err, prompt)
		var line []byte
		for {
			b, err := in.ReadByte()
			if err != nil && len(line) == 0 {
				return "", io.EOF
			}
			if err != nil || b == '\n' {
				io.WriteString(s.Err, "\n")
				return string(line), nil
			}
			line = append(line, b)
		}
	}
	return s
}

// terminal is a session with one.
func (lab *testLab) terminal(user auth.Name) *Session {
	s := lab.session(user, "")
	s.Terminal = &Terminal{Name: "xterm", Size: func() (int, int) { return 80, 24 }, Raw: func(bool) {}, Clear: func() { io.WriteString(s.Out, "(cleared)") }}
	return s
}

// step is one command line of a story, and what must come of it, to the letter.
type step struct {
	user           auth.Name
	line, stdin    string
	stdout, stderr string
	status         int
}

// tell runs the steps, one after the other.
func (lab *testLab) tell(steps []step) {
	lab.t.Helper()
	for _, s := range steps {
		got := lab.run(s.user, s.line, s.stdin)
		if want := (answer{s.stdout, s.stderr, s.status}); got != want {
			lab.t.Errorf("%s: %s\n--- got status %d, stdout:\n%s--- stderr:\n%s--- want status %d, stdout:\n%s--- stderr:\n%s",
				s.user, s.line, got.status, got.stdout, got.stderr, want.status, want.stdout, want.stderr)
		}
	}
}

// rack is a hypervisor whose nodes come up when the test says so.
type rack struct {
	lab *nodes.Lab

	mu      sync.Mutex
	started []nodes.Name
	refuses error  // to start any, if not nil
	takes   func() // called at each start, if not nil
}

func (r *rack) Start(n nodes.Name) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.takes != nil {
		r.takes()
	}
	if r.refuses == nil {
		r.started = append(r.started, n)
	}
	return r.refuses
}

func (r *rack) Resume(context.Context, nodes.Name) bool { return false }

func (r *rack) Stop(nodes.Name) {}

// up makes a node boot and report an SSH server at addr.
func (lab *testLab) up(n nodes.Name, addr string) {
	lab.t.Helper()
	_, err := lab.nodes.Boot(lab.t.Context(), n)
	lab.must(err)
	lab.nodes.Up(n, addr)
}

// signer is the private key that belongs to a name.
func signer(name string) ssh.Signer {
	seed := sha256.Sum256([]byte(name))
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return s
}

// publicKey is the line of authorized_keys that belongs to a name.
func publicKey(name string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer(name).PublicKey()))) + " " + name + "@example\n"
}

func fingerprint(name string) string { return ssh.FingerprintSHA256(signer(name).PublicKey()) }
