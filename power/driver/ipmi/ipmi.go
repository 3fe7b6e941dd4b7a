// Package ipmi switches servers by their BMCs, over IPMI 2.0 on a network (RMCP+). A session
// is encrypted and signed by cipher suite 17 or, with a BMC that does not know it, 3; it has
// the privilege of an operator, and ends with what it was begun for. Its one surprising rule:
// who answers as if less were agreed on, as suite 0, is not spoken to; and what is not signed
// as was agreed is not heard.
package ipmi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bougou/go-ipmi"

	"walt/fault"
	"walt/power/driver"
)

// BMCs are those that have the same user.
type BMCs struct {
	User, Password string
}

const (
	port = "623" // of RMCP+
	// answerLimit is how long one answer may take. Nothing is asked twice in a session: the
	// second answer would be taken for that to the next question. Packets do get lost: who
	// calls tries again, in a session of its own.
	answerLimit = 3 * time.Second
	// Bytes that a BMC takes (IPMI 2.0, sections 13.20 and 22.30).
	mostUser, mostPassword = 16, 20
)

// Check fails when no BMC can have such a user.
func (b BMCs) Check() error {
	switch {
	case b.User == "":
		return fault.Usagef("user: is missing; want that of the BMCs")
	case len(b.User) > mostUser:
		return fault.Usagef("user: has %d bytes; a BMC has room for %d", len(b.User), mostUser)
	case len(b.Password) > mostPassword:
		return fault.Usagef("password_file: the password has %d bytes; a BMC has room for %d", len(b.Password), mostPassword)
	}
	return nil
}

// Status implements driver.Means. The port is that of UDP, 623 when there is none.
func (b BMCs) Status(ctx context.Context, t driver.Target) (is driver.State, err error) {
	err = b.with(ctx, t, func(c *ipmi.Client) error {
		status, err := c.GetChassisStatus(ctx)
		if is = driver.Off; err == nil && status.PowerIsOn {
			is = driver.On
		}
		return err
	})
	if err != nil {
		return driver.Unknown, err
	}
	return is, nil
}

// Switch implements driver.Means: off is at once.
func (b BMCs) Switch(ctx context.Context, t driver.Target, on bool) error {
	what := ipmi.ChassisControlPowerDown
	if on {
		what = ipmi.ChassisControlPowerUp
	}
	return b.with(ctx, t, func(c *ipmi.Client) error {
		_, err := c.ChassisControl(ctx, what)
		return err
	})
}

// Close implements driver.Means: no session lasts.
func (BMCs) Close() error { return nil }

// suite is a cipher suite, and what a session by it has.
type suite struct {
	id        ipmi.CipherSuiteID
	auth      ipmi.AuthAlg
	integrity ipmi.IntegrityAlg
	crypt     ipmi.CryptAlg
	hash      func() hash.Hash // of auth and integrity
	signature int              // its bytes, in a packet
}

var suites = []suite{
	{ipmi.CipherSuiteID17, ipmi.AuthAlgRAKP_HMAC_SHA256, ipmi.IntegrityAlg_HMAC_SHA256_128, ipmi.CryptAlg_AES_CBC_128, sha256.New, 16},
	{ipmi.CipherSuiteID3, ipmi.AuthAlgRAKP_HMAC_SHA1, ipmi.IntegrityAlg_HMAC_SHA1_96, ipmi.CryptAlg_AES_CBC_128, sha1.New, 12},
}

// with calls do within a session.
func (b BMCs) with(ctx context.Context, t driver.Target, do func(*ipmi.Client) error) error {
	var err error
	for _, s := range suites {
		if err = b.by(ctx, t, s, do); !errors.Is(err, errSuite) {
			break
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("ask the BMC at %s: %w", t.Host, ctx.Err())
	}
	if ctx.Err() != nil {
		err = net.ErrClosed
	}
	return b.words(t.Host, err)
}

// by is with, by one suite.
func (b BMCs) by(ctx context.Context, t driver.Target, s suite, do func(*ipmi.Client) error) (err error) {
	w, err := dial(ctx, t)
	if err != nil {
		return err
	}
	defer w.Close()
	defer context.AfterFunc(ctx, func() { w.Close() })()
	defer func() {
		if recover() != nil { // the library takes packets for whole
			err = errGarbage
		}
	}()
	c, err := ipmi.NewClient("", 0, b.User, b.Password) // it has its connection
	if err != nil {
		return err
	}
	c.WithUDPProxy(w).WithTimeout(answerLimit).
		WithCipherSuiteID(s.id).WithMaxPrivilegeLevel(ipmi.PrivilegeLevelOperator)
	if err := b.begin(ctx, c, w, s); err != nil {
		return err
	}
	err = do(c)
	w.over.Store(true)                      // whatever says that it closed the session will do
	_ = c.Close(context.WithoutCancel(ctx)) // a BMC has few sessions; one that is silent now forgets this one by itself
	return err
}

// What a session fails for.
var (
	errSuite   = errors.New("it does not know the cipher suite")
	errUser    = errors.New("it does not let the user in")
	errGarbage = errors.New("its answer is not one of IPMI")
	errWeak    = errors.New("it wants a session that is less safe than what was asked for")
	errBusy    = errors.New("it has no room for one more session")
	errRole    = errors.New("the user may not work as an operator")
)

// begin begins a session (IPMI 2.0, section 13.15).
func (b BMCs) begin(ctx context.Context, c *ipmi.Client, w *wire, s suite) error {
	opened, err := c.OpenSession(ctx)
	switch {
	case err != nil:
		return cmp.Or(w.refusal(), err)
	case ipmi.AuthAlg(opened.AuthAlg) != s.auth, ipmi.IntegrityAlg(opened.IntegrityAlg) != s.integrity, ipmi.CryptAlg(opened.CryptAlg) != s.crypt:
		return errWeak
	}
	second, err := c.RAKPMessage1(ctx)
	var first []byte
	if err == nil {
		first = w.sent
		_, err = c.RAKPMessage3(ctx)
	} else if second != nil && w.refusal() == nil { // it knows another password
		err = errUser
	}
	if err != nil {
		return cmp.Or(w.refusal(), err)
	}
	w.suite, w.key = s, s.key(b.Password, first, second.ManagedSystemRandomNumber[:])
	_, err = c.SetSessionPrivilegeLevel(ctx, ipmi.PrivilegeLevelOperator)
	if _, refused := errors.AsType[*ipmi.ResponseError](err); refused {
		return errRole
	}
	return err
}

// refusal is why a session is not opened (IPMI 2.0, table 13-15), as the last answer says; nil
// when it says nothing of that. The library knows only those that are longer than they have to be.
func (w *wire) refusal() error {
	last := w.last.Load()
	if last == nil || len(*last) < 18 {
		return nil
	}
	switch ipmi.PayloadType((*last)[5]) {
	case ipmi.PayloadTypeRmcpOpenSessionResponse, ipmi.PayloadTypeRAKPMessage2, ipmi.PayloadTypeRAKPMessage4:
	default:
		return nil
	}
	switch code := ipmi.RmcpStatusCode((*last)[17]); code {
	case ipmi.RmcpStatusCodeNoErrors:
		return nil
	case ipmi.RmcpStatusCodeNoResToCreateSess, ipmi.RmcpStatusCodeNoResToCreateSessAtRole:
		return errBusy
	case ipmi.RmcpStatusCodeInvalidAuthAlg, ipmi.RmcpStatusCodeInvalidIntegrityAlg, ipmi.RmcpStatusCodeInvalidConfidentAlg,
		ipmi.RmcpStatusCodeNoMatchingAuthPayload, ipmi.RmcpStatusCodeNoMatchingIntegrityPayload, ipmi.RmcpStatusCodeNoCipherSuiteMatch:
		return errSuite
	case ipmi.RmcpStatusCodeUnauthorizedName, ipmi.RmcpStatusCodeInvalidNameLength, ipmi.RmcpStatusCodeInvalidIntegrityCheckValue:
		return errUser
	case ipmi.RmcpStatusCodeUnauthorizedRoleOfPriLevel, ipmi.RmcpStatusCodeInvalidRole:
		return errRole
	default:
		return refused(strings.ToLower(code.String()))
	}
}

// refused is a rare reason for that.
type refused string

func (r refused) Error() string { return string(r) }

// wire is what the library sends and receives by. It is closed whatever becomes of the session.
type wire struct {
	net.Conn
	sent []byte                 // last
	last atomic.Pointer[[]byte] // that was received
	// Of a session, which the library has be signed, and does not look whether it is:
	suite
	key  []byte      // that packets are signed with, nil of none
	over atomic.Bool // they need not be any more
}

// dial opens the way to a BMC, for which nothing is sent.
func dial(ctx context.Context, t driver.Target) (*wire, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(t.Host, cmp.Or(t.Port, port)))
	return &wire{Conn: conn}, err
}

func (w *wire) Write(p []byte) (n int, err error) {
	w.sent = bytes.Clone(p)
	return w.Conn.Write(p)
}

// Read receives the next packet that is of the session, once there is one.
func (w *wire) Read(p []byte) (n int, err error) {
	for {
		if n, err = w.Conn.Read(p); err != nil {
			return n, err
		}
		if w.key == nil || w.over.Load() || w.signed(p[:n]) {
			last := bytes.Clone(p[:n])
			w.last.Store(&last)
			return n, nil
		}
	}
}

// Where a packet has what it is, and what follows (IPMI 2.0, table 13-8).
const (
	format, payload, content = 4, 5, 16
	rmcpPlus                 = 6
	encryptedAndSigned       = 0xc0 // of payload, and that this is an answer of IPMI
)

// key is what the packets of a session are signed with (IPMI 2.0, sections 13.31 and 13.32),
// which began with that packet of ours, and that random number of the BMC's.
func (s suite) key(password string, first, random []byte) []byte {
	sum := func(key []byte, of ...[]byte) []byte {
		h := hmac.New(s.hash, key)
		for _, one := range of {
			h.Write(one)
		}
		return h.Sum(nil)
	}
	whole := make([]byte, mostPassword)
	copy(whole, password)
	said := first[content:]
	session := sum(whole, said[8:24], random, said[24:25], said[27:]) // our random number, the privilege, the user
	return sum(session, bytes.Repeat([]byte{1}, 20))
}

// signed reports whether a packet is encrypted, and signed with the key.
func (w *wire) signed(p []byte) bool {
	end := len(p) - w.signature
	if end < content || p[format] != rmcpPlus || p[payload] != encryptedAndSigned {
		return false
	}
	h := hmac.New(w.hash, w.key)
	h.Write(p[format:end])
	return hmac.Equal(h.Sum(nil)[:w.signature], p[end:])
}

// Dial is for the library: it is there already.
func (w *wire) Dial(string, string) (net.Conn, error) { return w, nil }

// lost reports whether an error is that no answer came.
func lost(err error) bool {
	_, is := errors.AsType[net.Error](err)
	return is || errors.Is(err, net.ErrClosed)
}

// words are an error for users.
func (b BMCs) words(host string, err error) error {
	said := func(what, hint string) error {
		return fault.Failedf("the BMC at %s %s", host, what).WithHint("%s", hint)
	}
	no := func(what, hint string) error { return driver.Refusal{Err: said(what, hint)} }
	response, answered := errors.AsType[*ipmi.ResponseError](err)
	why, closed := errors.AsType[refused](err)
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, errSuite):
		return no("knows neither cipher suite 17 nor 3", "allow one of them in its settings; older ones are not safe")
	case errors.Is(err, errWeak):
		return no("wants a session that is less safe than what was asked for", "look after it: it may be somebody else who answers")
	case errors.Is(err, errUser):
		return no("does not let user "+b.User+" in", "correct the user of the driver, or what its password file holds")
	case errors.Is(err, errRole):
		return no("does not let user "+b.User+" work as an operator", "give the user that privilege, over the network")
	case errors.Is(err, errBusy):
		return said("has no room for one more session", "wait a minute for it to forget old ones, or restart it")
	case closed:
		return no("opens no session: "+string(why), "its own log may say why")
	case answered:
		return no(fmt.Sprintf("refuses (IPMI completion code %#02x)", uint8(response.CompletionCode())), "its own log may say why")
	case isOp && !op.Timeout() && !errors.Is(err, net.ErrClosed):
		return said("cannot be reached: "+op.Err.Error(), "check its address, and that IPMI over LAN is turned on")
	case lost(err):
		return said("does not answer", "check its address, and that IPMI over LAN is turned on")
	}
	return said("sent an invalid answer", "check its address: it may be something else that answers")
}
