package ipmi

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net"
	"slices"
	"time"
)

// suite is a cipher suite (IPMI 2.0, section 22.15.2). All that are spoken encrypt by AES, in CBC, with 128 bits.
type suite struct {
	algorithms [3]byte // of authentication, integrity and confidentiality, as BMCs number them
	hash       func() hash.Hash
	signature  int // bytes of a hash that sign a packet
}

var (
	suite17 = suite{[3]byte{3, 4, 1}, sha256.New, 16}
	suite3  = suite{[3]byte{1, 1, 1}, sha1.New, 12}
)

// mac is the keyed hash of what the parts are together.
func (by suite) mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(by.hash, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// sign is what of that signs them.
func (by suite) sign(key []byte, parts ...[]byte) []byte {
	return by.mac(key, parts...)[:by.signature]
}

// session is what is spoken with a BMC once each has shown the other that it knows the password
// (IPMI 2.0, chapter 13). All answers in it are encrypted and signed: no others are believed.
type session struct {
	conn         net.Conn
	suite        suite
	ours, theirs []byte // its numbers
	asked        uint32 // packets so far
	signing      []byte // K1
	block        cipher.Block
}

// Kinds of packets (IPMI 2.0, table 13-16), of which the answer is one more.
const (
	opening = 0x10
	first   = 0x12 // of the messages by which both show that they know the password
	third   = 0x14

	command   = 0x00
	protected = 0xc0 // encrypted and signed
)

// header is how many bytes come before the payload of a packet.
const header = 16

// operator is the privilege that switching takes.
const operator = 3

// begin begins a session (IPMI 2.0, section 13.15).
func (b BMCs) begin(conn net.Conn, by suite) (*session, error) {
	s := &session{conn: conn, suite: by, ours: random(4)}
	ask := slices.Concat(make([]byte, 4), s.ours)
	for kind, algorithm := range by.algorithms {
		ask = append(ask, byte(kind), 0, 0, 8, algorithm, 0, 0, 0)
	}
	opened, err := s.exchange(opening, ask, 36)
	if err != nil {
		return nil, err
	}
	switch [3]byte{opened[16], opened[24], opened[32]} {
	case by.algorithms:
	case suite3.algorithms: // some BMCs offer it whatever they are asked for
		return nil, errSuite
	default:
		return nil, errWeak
	}
	s.theirs = opened[8:12]

	var (
		password = []byte(b.Password)
		nonce    = random(16)
		role     = byte(0x10 | operator) // the user is looked for by the name alone
		user     = append([]byte{role, byte(len(b.User))}, b.User...)
	)
	second, err := s.exchange(first, slices.Concat(make([]byte, 4), s.theirs, nonce, user[:1], []byte{0, 0}, user[1:]), 40+by.hash().Size())
	if err != nil {
		return nil, err
	}
	theirNonce, guid, proof := second[8:24], second[24:40], second[40:][:by.hash().Size()]
	if !hmac.Equal(proof, by.mac(password, s.ours, s.theirs, nonce, theirNonce, guid, user)) {
		return nil, errUser
	}
	fourth, err := s.exchange(third, slices.Concat(make([]byte, 4), s.theirs, by.mac(password, theirNonce, s.ours, user)), 8+by.signature)
	if err != nil {
		return nil, err
	}
	key := by.mac(password, nonce, theirNonce, user)
	if !hmac.Equal(fourth[8:][:by.signature], by.sign(key, nonce, s.theirs, guid)) {
		return nil, errKey // which would take the place of the password here
	}
	s.signing = by.mac(key, slices.Repeat([]byte{1}, 20))
	if s.block, err = aes.NewCipher(by.mac(key, slices.Repeat([]byte{2}, 20))[:16]); err != nil {
		return nil, err
	}
	if _, err = s.command(app, setPrivilege, operator); err != nil {
		s.close() // it is open also when that answer was lost
		if code, refused := errors.AsType[completion](err); refused && !code.passes() {
			err = errRole
		}
		return nil, err
	}
	return s, nil
}

// nobody is the number of a session in answers that do not name it, as some do that refuse.
var nobody = make([]byte, 4)

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

// exchange sends a message of those that begin a session, and returns the answer, which has at
// least that many bytes.
func (s *session) exchange(kind byte, message []byte, least int) ([]byte, error) {
	if err := s.send(kind, make([]byte, 8), message); err != nil {
		return nil, err
	}
	for {
		p, err := receive(s.conn)
		switch {
		case err != nil:
			return nil, err
		case p[5] != kind+1: // it was late
			continue
		}
		answer := p.payload()
		switch {
		case len(answer) >= 8 && !slices.Equal(answer[4:8], s.ours) && !slices.Equal(answer[4:8], nobody):
			continue // it is of another session
		case len(answer) > 1 && answer[1] != 0:
			return nil, refusal(answer[1]) // some say no more than that
		case len(answer) < least:
			return nil, errGarbage
		}
		return answer, nil
	}
}

// Commands (IPMI 2.0, appendix G): what they are for, and their numbers there.
const (
	onChassis    = 0x00
	app          = 0x06
	getStatus    = 0x01
	control      = 0x02
	setPrivilege = 0x3b
	closeSession = 0x3c
)

// Addresses of those who talk.
const (
	theBMC     = 0x20
	theConsole = 0x81
)

// command has the BMC do a command, and returns what it answers to that.
func (s *session) command(of, number byte, data ...byte) ([]byte, error) {
	turn, err := s.say(of, number, data)
	if err != nil {
		return nil, err
	}
	var forged error
	for {
		p, err := receive(s.conn)
		if err == nil && p[5]&^protected != command { // it was late
			continue
		}
		var answer []byte
		if err == nil {
			answer, err = s.open(p)
		}
		switch {
		case errors.Is(err, errGarbage), errors.Is(err, errWeak): // the BMC may still answer
			forged = err
		case err != nil:
			return nil, cmp.Or(forged, err)
		case answer[4] != turn, answer[5] != number: // it was late
		case answer[6] != 0:
			return nil, completion(answer[6])
		default:
			return answer[7 : len(answer)-1], nil
		}
	}
}

// say sends a command, and returns what tells the answer from others.
func (s *session) say(of, number byte, data []byte) (turn byte, err error) {
	s.asked++
	turn = byte(s.asked) << 2
	to, what := []byte{theBMC, of << 2}, append([]byte{theConsole, turn, number}, data...)
	message := slices.Concat(to, []byte{sum(to)}, what, []byte{sum(what)})
	return turn, s.send(protected|command, binary.LittleEndian.AppendUint32(slices.Clone(s.theirs), s.asked), s.encrypt(message))
}

// close tells the BMC that this is over: it has room for few sessions. Whatever it answers
// will do, as it has forgotten the keys by then.
func (s *session) close() {
	if _, err := s.say(app, closeSession, s.theirs); err == nil {
		_, _ = receive(s.conn)
	}
}

// completion is what a BMC says of a command that it did not do (IPMI 2.0, table 5-2).
type completion byte

func (c completion) Error() string { return fmt.Sprintf("IPMI completion code %#02x", byte(c)) }

// notNow is that the state that it is in does not allow it, as while the server goes off.
const notNow completion = 0xd5

// passes reports whether asking again may help: it is busy, took too long, is not ready, or does not say.
func (c completion) passes() bool {
	switch c {
	case 0xc0, 0xc3, 0xce, 0xd1, 0xd2, notNow, 0xff:
		return true
	}
	return false
}

// sum is the byte with which those make 0 together.
func sum(bytes []byte) (rest byte) {
	for _, b := range bytes {
		rest -= b
	}
	return rest
}

// send sends a packet, signed if its kind says so. What follows it has a time from then on.
func (s *session) send(kind byte, session, payload []byte) error {
	p := slices.Concat([]byte{6, 0, 0xff, 7, 6, kind}, session, binary.LittleEndian.AppendUint16(nil, uint16(len(payload))), payload)
	if kind&protected != 0 {
		pad := -(len(p) + 2 - 4) & 3
		p = append(p, slices.Repeat([]byte{0xff}, pad)...)
		p = append(p, byte(pad), 7)
		p = append(p, s.suite.sign(s.signing, p[4:])...)
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	_, err := s.conn.Write(p)
	return err
}

// packet is one that has at least its header and the payload of which that tells.
type packet []byte

func receive(conn net.Conn) (packet, error) {
	p := make(packet, 1<<10)
	n, err := conn.Read(p)
	if err != nil {
		return nil, err
	}
	p = p[:n]
	if n < header || p[0] != 6 || p[3] != 7 || p[4] != 6 || n < header+int(binary.LittleEndian.Uint16(p[14:])) {
		return nil, errGarbage
	}
	return p, nil
}

func (p packet) payload() []byte { return p[header:][:binary.LittleEndian.Uint16(p[14:])] }

// encrypt encrypts a message (IPMI 2.0, section 13.29).
func (s *session) encrypt(message []byte) []byte {
	pad := -(len(message) + 1) & (aes.BlockSize - 1)
	for i := range pad {
		message = append(message, byte(i+1))
	}
	message = append(message, byte(pad))
	start := random(aes.BlockSize)
	cipher.NewCBCEncrypter(s.block, start).CryptBlocks(message, message)
	return append(start, message...)
}

// open returns the message in a packet, which is signed.
func (s *session) open(p packet) ([]byte, error) {
	text := p.payload()
	signed := len(p) - s.suite.signature
	if p[5]&protected != protected || !slices.Equal(p[6:10], s.ours) || signed < header+len(text)+2 || !hmac.Equal(p[signed:], s.suite.sign(s.signing, p[4:signed])) {
		return nil, errWeak
	}
	if len(text) < 2*aes.BlockSize || len(text)%aes.BlockSize != 0 {
		return nil, errGarbage
	}
	start, text := text[:aes.BlockSize], text[aes.BlockSize:]
	cipher.NewCBCDecrypter(s.block, start).CryptBlocks(text, text)
	last := len(text) - 1
	message := text[:max(0, last-int(text[last]))]
	if len(message) < 8 || sum(message[:3]) != 0 || sum(message[3:]) != 0 {
		return nil, errGarbage
	}
	return message, nil
}
