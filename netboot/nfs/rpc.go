package nfs

import (
	"errors"
	"net/netip"
	"sync/atomic"
)

// The programs that are served here, and their versions.
const (
	programNFS   = 100003
	programMount = 100005
	programACL   = 100227
	version      = 3
)

// Numbers of RFC 5531.
const (
	rpcVersion = 2

	messageCall  = 0
	messageReply = 1

	replyAccepted = 0
	replyDenied   = 1

	deniedVersion = 0
	deniedAuth    = 1
	authBadCred   = 1

	acceptSuccess          = 0
	acceptProgUnavailable  = 1
	acceptProgMismatch     = 2
	acceptProcUnavailable  = 3
	acceptGarbageArguments = 4

	authNone      = 0
	authSys       = 1
	authBodyLimit = 400
	nameLimit     = 255 // of a machine
	groupLimit    = 16
)

// errNoCall says that nothing can be answered to a record.
var errNoCall = errors.New("a record that is not a call")

// call is the call that a connection answers; the next one uses it again.
type call struct {
	server *Server
	from   netip.Addr
	who    credentials
	args   decoder
	res    encoder // the answer; what it begins with belongs to others

	read atomic.Int64 // bytes of contents that are in answers
}

// credentials are who a client says that it acts for.
type credentials struct {
	uid, gid uint32
	groups   [groupLimit]uint32
	n        int // of the groups
}

// nobody is who a client acts for that does not say so.
const nobody = 65534

// answer appends the answer to a call to out. It keeps nothing of the record.
func (c *call) answer(record, out []byte) ([]byte, error) {
	c.args, c.res = decoder{b: record}, out
	id, kind := c.args.uint32(), c.args.uint32()
	rpc, program, vers, procedure := c.args.uint32(), c.args.uint32(), c.args.uint32(), c.args.uint32()
	flavor, cred := c.args.uint32(), c.args.opaque(authBodyLimit)
	_, _ = c.args.uint32(), c.args.opaque(authBodyLimit) // the verifier, which these flavors have none of
	if c.args.bad || kind != messageCall {
		return nil, errNoCall
	}
	c.res.uint32(id)
	c.res.uint32(messageReply)
	switch {
	case rpc != rpcVersion:
		c.words(replyDenied, deniedVersion, rpcVersion, rpcVersion)
	case !c.who.parse(flavor, cred):
		c.words(replyDenied, deniedAuth, authBadCred)
	default:
		c.words(replyAccepted, authNone, 0)
		c.run(program, vers, procedure)
	}
	return c.res, nil
}

// run appends how a call went, and what came of it.
func (c *call) run(program, vers, procedure uint32) {
	var procedures []func(*call)
	switch program {
	case programNFS:
		procedures = nfsProcedures[:]
	case programMount:
		procedures = mountProcedures[:]
	case programACL:
		procedures = aclProcedures[:]
	}
	switch {
	case procedures == nil:
		c.words(acceptProgUnavailable)
	case vers != version:
		c.words(acceptProgMismatch, version, version)
	case int64(procedure) >= int64(len(procedures)):
		c.words(acceptProcUnavailable)
	default:
		begin := len(c.res)
		c.words(acceptSuccess)
		procedures[procedure](c)
		if c.args.bad {
			c.res = c.res[:begin]
			c.words(acceptGarbageArguments)
		}
	}
}

// words appends numbers to the answer.
func (c *call) words(all ...uint32) {
	for _, v := range all {
		c.res.uint32(v)
	}
}

// null is the procedure of all programs that does nothing.
func null(*call) {}

// parse takes who a client says that it acts for; false when the flavor is not
// known, or the credentials are not of that form: see RFC 5531, appendix A.
func (who *credentials) parse(flavor uint32, body []byte) bool {
	switch flavor {
	case authNone:
		*who = credentials{uid: nobody, gid: nobody}
		return true
	case authSys:
		d := decoder{b: body}
		d.uint32() // a stamp
		d.opaque(nameLimit)
		*who = credentials{uid: d.uint32(), gid: d.uint32()}
		n := d.uint32()
		for range min(n, groupLimit) {
			who.groups[who.n] = d.uint32()
			who.n++
		}
		return !d.bad && n <= groupLimit
	}
	return false
}
