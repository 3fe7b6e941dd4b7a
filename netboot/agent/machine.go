//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// machine is what the program knows of the machine that it runs on, before the root is
// there and after.
type machine struct {
	log *record
	in  *instructions.Instructions

	mu      sync.Mutex
	steps   []instructions.Begun
	failed  string
	ended   string
	ending  string
	denied  string        // why it may not have its address any more
	deaf    bool          // no packet wakes its network card
	changed chan struct{} // has a value when the server is to be told

	admits  chan struct{} // has a value when others may log in than before
	written string        // the version of who may, in the files of the image
	let     *guests       // who may, as of their version; of the SSH server

	resume chan struct{} // closed when somebody says so to a machine that stopped on purpose
	once   sync.Once
	orders orders
	card   int   // the index of the interface that it boots over
	root   int   // a descriptor of the root directory, or -1
	taken  int64 // bytes that the image takes there
}

func newMachine(log *record) *machine {
	m := &machine{log: log, changed: make(chan struct{}, 1), admits: make(chan struct{}, 1), resume: make(chan struct{}), root: -1}
	m.orders = orders{log: log, clock: clock{log: log}, admit: m.admit}
	m.orders.begun = func(what string) {
		m.leaveAwake()
		m.set(func() { m.ending = what })
	}
	return m
}

// step notes that a step begins.
func (m *machine) step(s instructions.Step) {
	m.log.logf("%s", s)
	m.set(func() { m.steps = append(m.steps, instructions.Begun{Step: s, Uptime: uptime()}) })
}

// set changes what the server is told.
func (m *machine) set(change func()) {
	m.mu.Lock()
	change()
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// report is what the server is told.
func (m *machine) report() instructions.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := instructions.Report{
		Token: m.in.Token, Boot: m.in.Boot, Digest: m.in.Digest, Kernel: kernelVersion(),
		Steps: m.steps, Uptime: uptime(), Failed: m.failed, Ended: m.ended, Ending: m.ending, Denied: m.denied != "", Deaf: m.deaf, LEDs: len(leds()), Access: m.in.Version,
	}
	var st unix.Statfs_t
	if m.root >= 0 && unix.Fstatfs(m.root, &st) == nil { // of what is in memory: no question to the network
		r.Size = int64(st.Blocks)*int64(st.Bsize) - m.taken
		r.Used = max(0, int64(st.Blocks-st.Bfree)*int64(st.Bsize)-m.taken)
	}
	return r
}

const (
	reportEvery = 5 * time.Second
	// silence is how long the server may leave bytes unacknowledged before the agent
	// connects anew.
	silence = 8 * time.Second
	// dialLimit and longestPause are short: what else waits for a server that was away
	// goes on when the agent has found it again.
	dialLimit, firstPause, longestPause = 2 * time.Second, 100 * time.Millisecond, time.Second
)

// retry is what comes between one connection to the server and the next.
type retry struct {
	pause time.Duration // the last one
	told  string        // why the last connection ended
}

// after returns for how long to wait when a connection has ended, or could not be made, and
// whether that is news. Only one that lasted was none of those which end again and again, as
// those of a machine that the server does not know.
func (r *retry) after(lasted time.Duration, why error) (pause time.Duration, news bool) {
	if lasted > longestPause {
		*r = retry{}
	}
	news = why.Error() != r.told
	r.pause, r.told = min(max(firstPause, 2*r.pause), longestPause), why.Error()
	return r.pause, news
}

// talk holds a connection to the server, for ever.
func (m *machine) talk() {
	if m.in.Server == "" {
		return
	}
	for next := (retry{}); ; {
		var lasted time.Duration
		conn, err := net.DialTimeout("tcp", m.in.Server, dialLimit)
		if err == nil {
			begun := time.Now()
			err = m.converse(conn)
			conn.Close()
			lasted = time.Since(begun)
		}
		pause, news := next.after(lasted, err)
		if news {
			m.log.logf("connection to the server: %v", err)
		}
		time.Sleep(pause)
	}
}

// converse sends reports and follows orders until the connection ends.
func (m *machine) converse(conn net.Conn) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(fd uintptr) { // what it fails at, keep-alive finds more slowly
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
	ended := make(chan error, 1)
	go func() { // ends with the connection
		in := bufio.NewScanner(conn)
		in.Buffer(nil, instructions.OrderLimit)
		for in.Scan() {
			var o instructions.Order
			if err := json.Unmarshal(in.Bytes(), &o); err != nil {
				m.log.logf("an order that is none: %v", err)
				continue
			}
			m.orders.follow(o)
		}
		if err := in.Err(); err != nil {
			ended <- err
			return
		}
		ended <- fmt.Errorf("the server ended it")
	}()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	said := m.report()
	said.Conns, said.Board = waiting(conn), boardName()
	for out := json.NewEncoder(conn); ; said = m.report() {
		conn.SetWriteDeadline(time.Now().Add(silence))
		if err := out.Encode(said); err != nil {
			return err
		}
		select {
		case err := <-ended:
			return err
		case <-m.changed:
		case <-tick.C:
		}
	}
}

// inherited is what /init hands to the agent, through a file in memory.
type inherited struct {
	Instructions *instructions.Instructions
	Steps        []instructions.Begun
	Log          string
	SSHD         bool  // the image has an SSH server, which its init may start
	Taken        int64 // bytes of memory that the image takes
	Written      string
	Card         int
}

// Descriptors of the agent, beside the standard ones.
const (
	inheritedFD = 3
	wordsFD     = 4 // what process 1 says, if it is ours
)

// runAgent is what goes on beside the image's init.
func runAgent() {
	log := &record{out: kernelLog()}
	m := newMachine(log)
	var got inherited
	state := os.NewFile(inheritedFD, "inherited")
	if err := json.NewDecoder(state).Decode(&got); err != nil {
		log.logf("the agent was not started by /init: %v", err)
		os.Exit(2)
	}
	state.Close()
	unix.CloseOnExec(wordsFD)
	os.WriteFile("/proc/self/comm", []byte("walt-agent"), 0) // for ps
	m.in, m.steps, m.taken, m.card, log.text = got.Instructions, got.Steps, got.Taken, got.Card, []byte(got.Log)
	m.leaveAwake()
	if err := setScore(spared); err != nil {
		log.logf("the kernel may end the agent when memory is short: %v", err)
	}
	if fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
		m.root = fd
	}
	os.Chdir("/proc") // so that the root can be unmounted; it is there
	go m.talk()       // these end with the program
	go m.hear()       //
	if m.in.Leased.IsValid() {
		go m.keepAddress(m.in.Leased) // so does this, or it has nothing to do
	}
	go m.watchShutdown() //
	go m.keepAccess(got.Written, m.writeAccess)
	m.serveOrWait(got.SSHD)
	forever()
}

// hear notes what process 1 says, if it is ours.
func (m *machine) hear() {
	in := bufio.NewScanner(os.NewFile(wordsFD, "words"))
	for in.Scan() {
		text := in.Text()
		m.log.logf("%s", text)
		m.set(func() { m.ended = text })
	}
}

// handOver starts the agent. It returns a descriptor of the program, and that of what
// process 1 may say to the agent.
func (m *machine) handOver(sshd bool) (program, words int, err error) {
	if program, err = openSelf(); err != nil {
		return 0, 0, fmt.Errorf("open the program: %w", err)
	}
	m.mu.Lock()
	b, err := json.Marshal(inherited{m.in, m.steps, m.log.String(), sshd, m.taken, m.written, m.card})
	m.mu.Unlock()
	if err != nil {
		return 0, 0, err
	}
	state, err := memfile("walt-state", b)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(state)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, err
	}
	defer unix.Close(pipe[0])
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(null)
	_, err = unixForkExec(program, agentName, []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(state), uintptr(pipe[0])})
	return program, pipe[1], err
}
