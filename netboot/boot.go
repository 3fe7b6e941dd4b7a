package netboot

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/images/content"
	"walt/netboot/nfs"
	"walt/nodes"
	"walt/state"
)

// record is the last boot of a machine, as it is kept over a restart of the server,
// by the machine's MAC.
type record struct {
	ID     string     `json:"id"`
	Token  string     `json:"token"`            // that the machine shows
	Digest string     `json:"digest"`           // of the image
	Lender string     `json:"lender,omitempty"` // of the image that lends it its kernel
	IP     netip.Addr `json:"ip"`
	Given  bool       `json:"given,omitempty"`  // its agent has come: the instructions are given to nobody any more
	Model  string     `json:"model,omitempty"`  // for which the image has a kernel of its own; "" when it has none such
	Arch   string     `json:"arch,omitempty"`   // of the kernel, as Go names it; "" is amd64
	RAM    bool       `json:"ram,omitempty"`    // the root file system is in its memory
	Rooted bool       `json:"rooted,omitempty"` // it is there: nobody gets it any more
	Ended  bool       `json:"ended,omitempty"`  // the lab was told how its process ended

	// CommandLine is the kernel's, of a machine that fetches it; "" when it was given
	// that before it started.
	CommandLine string `json:"command_line,omitempty"`
}

var records = state.NewTable[record]("boot")

// boot is the last boot of a machine.
type boot struct {
	record
	machine Machine
	called  atomic.Pointer[nodes.Name] // by now, see node
	run     images.Runtime
	roots   []root // the upper one first
	init    string
	release func()
	pace    *rate.Limiter // of its agent

	permissive bool // it has a policy of SELinux, which cannot be enforced
	cloudInit  bool // it has cloud-init

	former former // the one of the machine before it

	mu    sync.Mutex
	asked time.Time          // when firmware asked for the address of the machine beside its agent; zero: it did not
	dead  bool               // it has failed, as its agent said
	over  bool               // there is another one, or none: what its agent says does not count
	agent *agent             // nil until it comes
	stop  context.CancelFunc // ends the sending of the root file system; nil before the first
	taken map[int]int64      // bytes of each layer of that in the machine's memory
	had   int64              // bytes of the root file system that it was sent until its last step
	since time.Time          // when it reached that; zero: before the server started
}

func newBoot(m Machine, r record) *boot {
	b := &boot{machine: m, record: r, pace: rate.NewLimiter(reports, reportsAtOnce), taken: map[int]int64{}}
	b.called.Store(&m.Name)
	return b
}

// arch is the architecture of the boot's kernel.
func (b *boot) arch() string { return cmp.Or(b.Arch, "amd64") }

// node is the name of the machine's node, which may have another one than when it started.
func (b *boot) node() nodes.Name { return *b.called.Load() }

// root is a layer of the root file system.
type root struct {
	id   nfs.ID
	path string // of mounting it
	tree *content.Tree
}

// Boot is what a machine starts with; the zero Boot is of one that fetches it.
type Boot struct {
	Kernel, Initrd string // files, which are there for a while
	CommandLine    string
}

func (b Boot) kernel() string { return b.Kernel }
func (b Boot) initrd() string { return b.Initrd }

// Prepare makes the next boot of a machine: what the node is to boot now. What it
// booted before is over.
func (s *Server) Prepare(ctx context.Context, m Machine) (_ Boot, err error) {
	m = s.ofModel(m)
	if err := s.moves(ctx, m); err != nil {
		return Boot{}, err
	}
	last := s.bootBy(m.MAC)
	s.replace(m.IP, nil) // before: what it still has to say is not of this boot
	img, err := s.Lab.Boot(ctx, m.Name)
	if err != nil {
		return Boot{}, err
	}
	s.Lab.Prepares(ctx, m.Name, true)
	defer s.Lab.Prepares(ctx, m.Name, false)
	o, err := s.look(ctx, img, m.Model)
	if err != nil {
		return Boot{}, err
	}
	ram, why, hint := o.root(m)
	if why != "" {
		return Boot{}, fault.Failedf("the image cannot boot a machine: %s", why).WithHint("%s", hint)
	}
	b := newBoot(m, record{ID: rand.Text(), Token: rand.Text(), Digest: o.at.image, Lender: o.at.lender, Model: o.model, Arch: o.arch, IP: m.IP, RAM: ram})
	if err := s.hold(ctx, b); err != nil {
		return Boot{}, err
	}
	defer func() {
		if err != nil {
			b.release()
		}
	}()
	files, err := s.files.of(ctx, b, s.Agent)
	if err != nil {
		return Boot{}, err
	}
	files.CommandLine = b.commandLine(o.args)
	if s.loaderOf(m) == nodes.PXE { // it fetches all that
		b.CommandLine = files.CommandLine
		files = Boot{}
	}
	_, err = s.Store.Update(ctx, func(tx state.Tx) error { return records.Put(tx, string(m.MAC), b.record) })
	if err != nil {
		return Boot{}, err
	}
	if last != nil {
		b.former = former{last.Token, s.Now()}
	}
	s.replace(m.IP, b)
	if b.CommandLine == "" {
		s.Lab.Reached(ctx, m.Name, nodes.StepKernel)
	}
	return files, nil
}

// moves ends what is left of other boots where a machine boots now: its own at another
// address, and that of who had this address before.
func (s *Server) moves(ctx context.Context, m Machine) error {
	if own := s.bootBy(m.MAC); own != nil && own.machine.IP != m.IP {
		s.replace(own.machine.IP, nil)
	}
	other := s.bootAt(m.IP)
	if other == nil || other.machine.MAC == m.MAC {
		return nil
	}
	_, err := s.Store.Update(ctx, func(tx state.Tx) error {
		r, found, err := records.Find(tx, string(other.machine.MAC))
		if err != nil || !found || r.ID != other.ID {
			return err
		}
		return records.Delete(tx, string(other.machine.MAC))
	})
	if err == nil {
		s.replace(m.IP, nil)
		s.Lab.Lost(other.node(), s.Now(), fmt.Sprintf("%s has its address", m.Name))
	}
	return err
}

// loaderOf is how the kernel of a machine comes into its memory.
func (s *Server) loaderOf(m Machine) nodes.Loader {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(m.Settings.Loader, s.loader)
}

// SetLoader says how that is of machines that are not set to either: of those that
// start from now on.
func (s *Server) SetLoader(l nodes.Loader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loader = l
}

// Resume goes on with the last boot of a machine that runs since before the server
// started. It reports whether there was one, at the address that it has now.
func (s *Server) Resume(ctx context.Context, m Machine) (bool, error) {
	r, err := state.Read(ctx, s.Store, func(r state.Reader) (record, error) { return records.Get(r, string(m.MAC)) })
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	if err != nil || r.IP != m.IP {
		return false, err
	}
	b := newBoot(s.ofModel(m), r)
	if err := s.hold(ctx, b); err != nil {
		return false, err
	}
	s.replace(m.IP, b)
	return true, nil
}

// Over ends the boot of the machine with an address, which is off: what it had of its
// image is held no longer.
func (s *Server) Over(ip netip.Addr) { s.replace(ip, nil) }

// Forget forgets a machine that is off, and will not come back.
func (s *Server) Forget(ctx context.Context, mac ethernet.MAC) error {
	s.Gone(mac)
	_, err := s.Store.Update(ctx, func(tx state.Tx) error { return s.Forgo(tx, mac) })
	return err
}

// Forgo implements nodes.Agents.
func (s *Server) Forgo(tx state.Tx, mac ethernet.MAC) error {
	key := string(mac)
	_, leased, err := leases.Find(tx, key)
	_, booted, bad := records.Find(tx, key)
	known, worse := identities.Has(tx, key)
	if err := errors.Join(err, bad, worse); err != nil || !leased && !booted && !known { // it is none of ours
		return err
	}
	return errors.Join(records.Delete(tx, key), identities.Delete(tx, key), leases.Delete(tx, key))
}

// Gone implements nodes.Agents.
func (s *Server) Gone(mac ethernet.MAC) {
	s.Lab.Calmed(fullTrouble) // its address is free
	if b := s.bootBy(mac); b != nil {
		s.replace(b.machine.IP, nil)
	}
}

// Renamed implements nodes.Agents.
func (s *Server) Renamed(mac ethernet.MAC, name nodes.Name) {
	if b := s.bootBy(mac); b != nil {
		b.called.Store(&name)
	}
}

// bootBy returns the last boot of the machine with a MAC address, nil when it has none.
func (s *Server) bootBy(mac ethernet.MAC) *boot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.boots {
		if b.machine.MAC == mac {
			return b
		}
	}
	return nil
}

// Booted are the addresses at which machines booted last.
func (s *Server) Booted(ctx context.Context) (map[ethernet.MAC]netip.Addr, error) {
	return state.Read(ctx, s.Store, func(r state.Reader) (map[ethernet.MAC]netip.Addr, error) {
		all := map[ethernet.MAC]netip.Addr{}
		for e, err := range records.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			all[ethernet.MAC(e.Key)] = e.Value.IP
		}
		return all, nil
	})
}

// Find returns the address of a machine that runs, by the name of its node.
func (s *Server) Find(name string) (netip.Addr, bool) {
	b := s.bootOf(nodes.Name(name))
	if b == nil {
		return netip.Addr{}, false
	}
	return b.machine.IP, true
}

// NodeAt returns the node whose machine runs at an address: what Find does the other way
// round.
func (s *Server) NodeAt(ip netip.Addr) (nodes.Name, bool) {
	b := s.bootAt(ip)
	if b == nil {
		return "", false
	}
	return b.node(), true
}

// bootAt returns the last boot at an address, nil when there is none.
func (s *Server) bootAt(ip netip.Addr) *boot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boots[ip]
}

// bootOf returns the last boot of a node, nil when it has none.
func (s *Server) bootOf(n nodes.Name) *boot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.boots {
		if b.node() == n {
			return b
		}
	}
	return nil
}

// hold takes hold of the content of a boot: its image, and what lends that a kernel.
func (s *Server) hold(ctx context.Context, b *boot) error {
	digest, err := content.ParseDigest(b.Digest)
	if err != nil {
		return err
	}
	tree, run, release, err := s.Library.Hold(ctx, b.Digest)
	if err != nil {
		return err
	}
	b.run, b.release = run, release
	b.roots = []root{{nfs.IDOf(digest), nfs.Path(digest), tree}}
	b.init, b.permissive, b.cloudInit = findInit(tree), enforces(tree), hasCloudInit(tree)
	if b.Lender == "" {
		return nil
	}
	if err := s.borrow(ctx, b); err != nil {
		release()
		return err
	}
	return nil
}

// replace makes b the boot of the machine with the address; nil: it has none.
func (s *Server) replace(ip netip.Addr, b *boot) {
	s.mu.Lock()
	before := s.boots[ip]
	if s.boots[ip] = b; b == nil {
		delete(s.boots, ip)
	}
	s.mu.Unlock()
	if before != nil {
		before.end()
		before.release()
	}
}

// at returns the boot of the machine with the address if the token is of it.
func (s *Server) at(ip netip.Addr, token string) *boot {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boots[ip]
	if b == nil || subtle.ConstantTimeCompare([]byte(b.Token), []byte(token)) != 1 {
		return nil
	}
	return b
}
