package ipmi

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"
	"go.uber.org/goleak"

	"walt/e2e/lab"
	"walt/fault"
	"walt/power/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newBMC starts a simulated one, which answers.
func newBMC(t *testing.T) *lab.BMC {
	t.Helper()
	b, err := lab.NewBMC(t.TempDir())
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err == nil {
		err = b.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := (BMCs{User: "nobody"}).Status(t.Context(), target(b))
		if _, answered := errors.AsType[driver.Refusal](err); answered {
			return b
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func target(b *lab.BMC) driver.Target { return driver.Target{Host: b.Host, Port: b.Port} }

// at is the target at an address.
func at(host string) driver.Target {
	address, port, _ := net.SplitHostPort(host)
	return driver.Target{Host: address, Port: port}
}

func TestBMC(t *testing.T) {
	t.Parallel()
	b := newBMC(t)
	users := BMCs{User: "walt", Password: "secret-one"}
	for want, state := range map[bool]driver.State{false: driver.Off, true: driver.On} {
		if err := users.Switch(t.Context(), target(b), want); err != nil {
			t.Fatal(err)
		}
		if b.Off() == want {
			t.Errorf("switched to %v it is off: %v", want, b.Off())
		}
		if is, err := users.Status(t.Context(), target(b)); err != nil || is != state {
			t.Errorf("it is %v, %v; want %v", is, err, state)
		}
	}
	for range 25 { // it has room for few sessions
		if _, err := users.Status(t.Context(), target(b)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := newBMC(t)
	for says, users := range map[string]BMCs{
		"does not let user walt in":  {User: "walt", Password: "wrong"},
		"does not let user carol in": {User: "carol", Password: "secret-one"},
	} {
		err := users.Switch(t.Context(), target(b), false)
		_, refused := errors.AsType[driver.Refusal](err)
		if f := fault.As(err); f == nil || !refused || !strings.Contains(f.Msg, says) || strings.Contains(f.Msg+f.Hint, users.Password) {
			t.Errorf("%s: %v", says, err)
		}
		if b.Off() {
			t.Errorf("%s: it is off", says)
		}
	}
}

// strict is another BMC, whose server has power. It minds cipher suites, and what its users
// may do: walt is an operator, carol a mere user, and dave is locked out.
type strict struct {
	*udp.Conn
	*bmc.BMC
	opened chan types.AuthAlg    // what the sessions that it opened are authenticated by
	forge  func(p []byte) []byte // what becomes of its answers on their way; nil: nothing
}

func newStrict(t *testing.T, options ...bmc.Option) *strict {
	t.Helper()
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &strict{Conn: conn, BMC: bmc.New(bmc.DeviceInfo{IPMIVersion: 0x20}, [16]byte{1}, mock.New(), options...), opened: make(chan types.AuthAlg, 1000)}
	for i, name := range []string{"walt", "carol", "dave"} {
		u, err := s.Users.Add(uint8(i+2), name)
		if err != nil {
			t.Fatal(err)
		}
		u.SetPassword([]byte("secret-one"))
		u.Enabled = name != "dave"
		may := bmc.PrivilegeLevelOperator
		if name == "carol" {
			may = bmc.PrivilegeLevelUser
		}
		u.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: may, Enabled: true}
	}
	if err := s.HAL().Chassis().SetPower(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve has it answer, until the test ends.
func (s *strict) serve(t *testing.T) *strict {
	t.Helper()
	served := server.NewServer(s.BMC, s)
	done := make(chan error, 1)
	go func() { done <- served.Serve(context.Background()) }() // until it is closed
	t.Cleanup(func() {
		if err := errors.Join(served.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *strict) WriteTo(p []byte, to net.Addr) (int, error) {
	if len(p) > 32 && types.PayloadType(p[5]) == types.PayloadTypeRmcpOpenSessionResponse && p[17] == 0 {
		s.opened <- types.AuthAlg(p[32])
	}
	if s.forge != nil {
		p = s.forge(bytes.Clone(p))
	}
	return s.Conn.WriteTo(p, to)
}

func (s *strict) target() driver.Target { return at(s.LocalAddr().String()) }

func (s *strict) on(t *testing.T) bool {
	t.Helper()
	on, err := s.HAL().Chassis().PowerState(t.Context())
	if err != nil {
		t.Error(err)
	}
	return on
}

func TestSuites(t *testing.T) {
	t.Parallel()
	users := BMCs{User: "walt", Password: "secret-one"}
	for _, test := range []struct {
		suites []types.CipherSuiteID
		want   types.AuthAlg
	}{
		{[]types.CipherSuiteID{17}, types.AuthAlg_HMAC_SHA256},
		{[]types.CipherSuiteID{3}, types.AuthAlg_HMAC_SHA1},
		{[]types.CipherSuiteID{0, 3, 17}, types.AuthAlg_HMAC_SHA256},
	} {
		s := newStrict(t, bmc.WithCipherSuites(test.suites)).serve(t)
		for _, want := range []driver.State{driver.Off, driver.On} {
			err := users.Switch(t.Context(), s.target(), want == driver.On)
			is, lost := users.Status(t.Context(), s.target())
			if err != nil || lost != nil || is != want || s.on(t) != (want == driver.On) {
				t.Errorf("suites %v: %v, %v, %v; want %v", test.suites, err, is, lost, want)
			}
		}
		if n := s.Sessions.Count(); n != 0 || len(s.opened) != 4 {
			t.Errorf("suites %v: of %d sessions %d are open", test.suites, len(s.opened), n)
		}
		for range len(s.opened) {
			if got := <-s.opened; got != test.want {
				t.Errorf("suites %v: a session is authenticated by %v, want %v", test.suites, got, test.want)
			}
		}
	}
}

// What is not safe, or not allowed, switches nothing.
func TestStrictness(t *testing.T) {
	t.Parallel()
	safe := newStrict(t).serve(t)
	weak := newStrict(t, bmc.WithCipherSuites([]types.CipherSuiteID{0, 1, 2, 15, 16})).serve(t)
	keyed := newStrict(t, bmc.WithKG([]byte("a key of its own"))).serve(t)
	for _, test := range []struct {
		bmc            *strict
		user, password string
		says           string
	}{
		{weak, "walt", "secret-one", "knows neither cipher suite 17 nor 3"},
		{keyed, "walt", "secret-one", "has a key for sessions (Kg)"},
		{safe, "walt", "wrong", "does not let user walt in"},
		{safe, "eve", "secret-one", "does not let user eve in"},
		{safe, "dave", "secret-one", "does not let user dave in"},
		{safe, "carol", "secret-one", "does not let user carol work as an operator"},
	} {
		err := BMCs{User: test.user, Password: test.password}.Switch(t.Context(), test.bmc.target(), false)
		_, refused := errors.AsType[driver.Refusal](err)
		if f := fault.As(err); f == nil || !refused || !strings.Contains(f.Msg, test.says) || f.Hint == "" || strings.Contains(f.Msg+f.Hint, "secret-one") {
			t.Errorf("%s: %v", test.says, err)
		}
		if !test.bmc.on(t) {
			t.Errorf("%s: it is off", test.says)
		}
	}
	if len(weak.opened) > 0 {
		t.Error("a session that is not safe was opened")
	}
}

// Some do not switch what is as wanted, and some are not ready: of these it is no refusal.
func TestAsItIs(t *testing.T) {
	t.Parallel()
	users := BMCs{User: "walt", Password: "secret-one"}
	for code, want := range map[types.CompletionCode]string{
		0xd5: "cannot do it now (IPMI completion code 0xd5)",
		0xc0: "cannot do it now (IPMI completion code 0xc0)",
		0xff: "cannot do it now (IPMI completion code 0xff)",
		0xc1: "refuses (IPMI completion code 0xc1)",
	} {
		s := newStrict(t)
		s.HAL().Chassis().(*mock.Chassis).SetPowerHook = func(bool) error { return code }
		s.serve(t)
		if err := users.Switch(t.Context(), s.target(), true); (err == nil) != (code == 0xd5) {
			t.Errorf("%v: %v", code, err)
		}
		err := users.Switch(t.Context(), s.target(), false)
		_, refused := errors.AsType[driver.Refusal](err)
		if err == nil || !strings.Contains(err.Error(), want) || refused != (code == 0xc1) {
			t.Errorf("%v: %v, refused: %v", code, err, refused)
		}
	}
}

// listen answers every packet as it likes.
func listen(t *testing.T, answer func(packet []byte) []byte) (host string) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // until the test closes the socket
		defer close(done)
		buffer := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			if out := answer(buffer[:n]); out != nil {
				_, _ = c.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c.LocalAddr().String()
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	silent := listen(t, func([]byte) []byte { return nil })
	_, err := BMCs{User: "walt"}.Status(ctx, at(silent))
	if f := fault.As(err); f == nil || !strings.Contains(f.Msg, "does not answer") {
		t.Errorf("silent: %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := (BMCs{User: "walt"}).Status(gone, at(silent)); err == nil || fault.As(err) != nil {
		t.Errorf("interrupted: %v", err)
	}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	_, err = BMCs{User: "walt"}.Status(t.Context(), at(free.LocalAddr().String()))
	if f := fault.As(err); f == nil || !strings.Contains(f.Msg, "connection refused") {
		t.Errorf("nobody there: %v", err)
	}
	err = BMCs{}.words("bmc-3", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "bmc-3", Server: "10.0.0.1:53"}})
	if f := fault.As(err); f == nil || f.Msg != "the BMC at bmc-3: its name is not known: no such host" {
		t.Errorf("no such name: %v", err)
	}
}

// opened is the answer to the request that opens a session, of such algorithms.
func opened(auth, integrity, crypt byte) []byte {
	return []byte{
		6, 0, 0xff, 7, 6, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 36, 0,
		0, 0, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4,
		0, 0, 0, 8, auth, 0, 0, 0, 1, 0, 0, 8, integrity, 0, 0, 0, 2, 0, 0, 8, crypt, 0, 0, 0,
	}
}

// refusing is an answer of a kind that has such a status and nothing more.
func refusing(kind, code byte) []byte {
	return []byte{6, 0, 0xff, 7, 6, kind, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, code}
}

func TestStatusOfAnswers(t *testing.T) {
	t.Parallel()
	for says, answers := range map[string][][]byte{
		"no room":                       {refusing(0x11, 0x01)},
		"less safely":                   {opened(0, 0, 0)},
		"user walt in":                  {opened(1, 1, 1), opened(1, 1, 1), refusing(0x13, 0x0d)}, // it knows suite 3 alone
		"no session (RMCP+ status 0x08": {refusing(0x11, 0x08)},
		"sent an invalid answer":        {{1, 2, 3}},
		"no session (RMCP+ status 0x12": {opened(3, 4, 1), refusing(0x13, 0x12)},
	} {
		var n atomic.Int64
		host := listen(t, func([]byte) []byte { return answers[(int(n.Add(1))-1)%len(answers)] })
		is, err := BMCs{User: "walt", Password: "secret-one"}.Status(t.Context(), at(host))
		if f := fault.As(err); f == nil || is != driver.Unknown || !strings.Contains(f.Msg, says) {
			t.Errorf("%s: %v, %v", says, is, err)
		}
	}
}

// What answers like a BMC but for some bytes is not believed.
func TestGarbage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		host := listen(t, func([]byte) []byte { return garble(random, opened(3, 4, 1)) })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if is, err := (BMCs{User: "walt", Password: "secret-one"}).Status(ctx, at(host)); is != driver.Unknown || fault.As(err) == nil {
			t.Errorf("believed: %v, %v", is, err)
		}
		cancel()
	}
}

// The same at any point of a session.
func TestGarbageAmidst(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		var mu sync.Mutex // it answers each packet by itself
		s := newStrict(t)
		s.forge = func(p []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(4) == 0 {
				p = garble(random, p)
			}
			return p
		}
		s.serve(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		is, err := BMCs{User: "walt", Password: "secret-one"}.Status(ctx, s.target())
		if is == driver.Off || (is == driver.Unknown) != (fault.As(err) != nil) {
			t.Errorf("seed %d: %v, %v", seed, is, err)
		}
		cancel()
	}
}

// garble changes some bytes, and takes some off the end.
func garble(random *rand.Rand, p []byte) []byte {
	for range 1 + random.IntN(4) {
		p[random.IntN(len(p))] = byte(random.UintN(256))
	}
	return p[:random.IntN(len(p)+1)]
}

// between passes on what is said to a BMC, and has what it answers be what forge makes of it.
func between(t *testing.T, b driver.Target, forge func(answer []byte) [][]byte) (host string) {
	t.Helper()
	bmc, err := net.Dial("udp", net.JoinHostPort(b.Host, b.Port))
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var client atomic.Pointer[net.Addr]
	var both sync.WaitGroup
	both.Go(func() { // until the test closes the sockets
		buffer := make([]byte, 2048)
		for {
			n, from, err := front.ReadFrom(buffer)
			if err != nil {
				return
			}
			client.Store(&from)
			_, _ = bmc.Write(buffer[:n])
		}
	})
	both.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, err := bmc.Read(buffer)
			if err != nil {
				return
			}
			for _, packet := range forge(bytes.Clone(buffer[:n])) {
				_, _ = front.WriteTo(packet, *client.Load())
			}
		}
	})
	t.Cleanup(func() {
		bmc.Close()
		front.Close()
		both.Wait()
	})
	return front.LocalAddr().String()
}

// Within a session nobody is believed who cannot sign: neither instead of the BMC, nor before it.
func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	b := newBMC(t)
	users := BMCs{User: "walt", Password: "secret-one"}
	if err := users.Switch(t.Context(), target(b), true); err != nil {
		t.Fatal(err)
	}
	isOff := []byte{0x81, 0x04, 0x7b, 0x20, 0x00, 0x01, 0x00, 0, 0, 0, 0xdf} // an answer to Get Chassis Status
	ours := func(answer []byte) bool { return len(answer) > 16 && answer[5] == 0xc0 }
	for what, forge := range map[string]func([]byte) []byte{
		"of version 1.5": func([]byte) []byte {
			return append([]byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(isOff))}, isOff...)
		},
		"in the clear": func([]byte) []byte {
			return append([]byte{6, 0, 0xff, 7, 6, 0, 0xa3, 0xa2, 0xa1, 0xa0, 9, 0, 0, 0, byte(len(isOff)), 0}, isOff...)
		},
		"unsigned":    func(answer []byte) []byte { answer[5] = 0x80; return answer },
		"of nothing":  func([]byte) []byte { return []byte{6, 0, 0xff, 7, 6, 0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} },
		"too short":   func(answer []byte) []byte { return answer[:10] },
		"other state": func(answer []byte) []byte { answer[16+7] ^= 1; return answer }, // what the first block is decrypted with
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			before := between(t, target(b), func(answer []byte) [][]byte {
				if !ours(answer) {
					return [][]byte{answer}
				}
				return [][]byte{forge(bytes.Clone(answer)), answer}
			})
			if is, err := users.Status(t.Context(), at(before)); err != nil || is != driver.On {
				t.Errorf("before the BMC: %v, %v", is, err)
			}
			instead := between(t, target(b), func(answer []byte) [][]byte {
				if ours(answer) {
					answer = forge(answer)
				}
				return [][]byte{answer}
			})
			if is, err := users.Status(t.Context(), at(instead)); err == nil || is != driver.Unknown {
				t.Errorf("instead of the BMC: %v, %v", is, err)
			}
		})
	}
}

// What was answered before is no answer to what is asked now, be it late, sent twice, or by
// somebody who heard it.
func TestRepeatedAnswers(t *testing.T) {
	t.Parallel()
	s := newStrict(t).serve(t)
	users := BMCs{User: "walt", Password: "secret-one"}
	var before [][]byte
	host := between(t, s.target(), func(answer []byte) [][]byte {
		before = append(before, answer)
		return append(slices.Clone(before), answer)
	})
	for _, want := range []driver.State{driver.Off, driver.On, driver.Off} {
		if err := users.Switch(t.Context(), at(host), want == driver.On); err != nil {
			t.Fatal(err)
		}
		if is, err := users.Status(t.Context(), at(host)); err != nil || is != want || s.on(t) != (want == driver.On) {
			t.Errorf("it is %v, %v; want %v", is, err, want)
		}
	}
}

// A session ends also when the answer to its first command is lost: a BMC has room for few.
func TestSessionEndsWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	s := newStrict(t).serve(t)
	lost := 0
	host := between(t, s.target(), func(answer []byte) [][]byte {
		if answer[5] == protected && lost == 0 {
			lost++
			return nil
		}
		return [][]byte{answer}
	})
	is, err := BMCs{User: "walt", Password: "secret-one"}.Status(t.Context(), at(host))
	if f := fault.As(err); f == nil || is != driver.Unknown || !strings.Contains(f.Msg, "does not answer") {
		t.Errorf("%v, %v", is, err)
	}
	if n := s.Sessions.Count(); n != 0 || lost == 0 {
		t.Errorf("%d sessions are open", n)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for says, b := range map[string]BMCs{
		"missing":     {},
		"room for 16": {User: strings.Repeat("u", 17)},
		"room for 20": {User: "walt", Password: strings.Repeat("p", 21)},
	} {
		if err := b.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if err := (BMCs{User: "walt", Password: "secret-one"}).Check(); err != nil {
		t.Error(err)
	}
}
