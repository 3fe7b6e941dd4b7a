package netboot

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/ethernet"
	"walt/netboot/instructions"
	"walt/nodes"
)

// HostSigners returns the host key of a node, made when it is first asked for, and the same
// key with its certificate: what SSH servers of nodes show.
func (s *Server) HostSigners(ctx context.Context, mac ethernet.MAC, n nodes.Name) ([]ssh.Signer, error) {
	is, err := s.identityOf(ctx, mac)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey([]byte(is.HostKey))
	if err != nil {
		return nil, err
	}
	cert, err := s.certify(key.PublicKey(), n)
	if err != nil {
		return nil, err
	}
	certified, err := ssh.NewCertSigner(cert, key)
	return []ssh.Signer{key, certified}, err
}

// certify returns a certificate that a host key is that of a node. It is valid for ever, as
// what the key proves is; it is made each time that somebody asks, and kept nowhere.
func (s *Server) certify(key ssh.PublicKey, n nodes.Name) (*ssh.Certificate, error) {
	c := &ssh.Certificate{
		Key: key, CertType: ssh.HostCert, KeyId: string(n), ValidPrincipals: []string{string(n)}, ValidBefore: ssh.CertTimeInfinity,
	}
	return c, c.SignCert(rand.Reader, s.HostCA)
}

// accessOf is who may log in to the machine of a boot by now, and what it shows them.
func (s *Server) accessOf(ctx context.Context, b *boot) (instructions.Access, error) {
	n := b.node()
	admitted, version, err := s.versionOf(ctx, n)
	if err != nil {
		return instructions.Access{}, err
	}
	signers, err := s.HostSigners(ctx, b.machine.MAC, n)
	if err != nil {
		return instructions.Access{}, err
	}
	return instructions.Access{
		Version:         version,
		AuthorizedKeys:  append([]string{line(s.Trust)}, admitted.Lines...),
		HostCertificate: line(signers[1].PublicKey()),
	}, nil
}

// versionOf names what accessOf returns.
func (s *Server) versionOf(ctx context.Context, n nodes.Name) (*nodes.Admission, string, error) {
	admitted, err := s.Lab.Admitted(ctx, n)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256([]byte(line(s.Trust) + line(s.HostCA.PublicKey()) + admitted.Version + string(n)))
	return admitted, hex.EncodeToString(sum[:12]), nil
}

// line is a key as files have it.
func line(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// orderedAtOnce is how many agents are told at the same time what has changed for all.
const orderedAtOnce = 16

// Readmit implements nodes.Agents.
func (s *Server) Readmit(ctx context.Context) {
	s.mu.Lock()
	var all []*boot
	for _, b := range s.boots {
		all = append(all, b)
	}
	s.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(orderedAtOnce)
	for _, b := range all {
		b.mu.Lock()
		a := b.agent
		b.mu.Unlock()
		if a != nil {
			g.Go(func() error {
				s.readmit(ctx, b, a)
				return nil
			})
		}
	}
	_ = g.Wait()
}

// readmit has an agent let in who may log in by now, unless it does so. One that tells of
// nothing of the kind, of an earlier version of this server, lets in whom it began with.
func (s *Server) readmit(ctx context.Context, b *boot, a *agent) {
	a.admits.Lock() // so that what is newer is not followed by what is older
	defer a.admits.Unlock()
	has := a.access
	if has == "" {
		return
	}
	_, version, err := s.versionOf(ctx, b.node())
	if err == nil && version == has {
		return
	}
	var now instructions.Access
	if err == nil {
		now, err = s.accessOf(ctx, b)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Error("find out who may log in to a machine", "node", b.node(), "err", err)
		}
		return
	}
	if err := a.order(instructions.Order{Access: &now}); err == nil {
		a.access = now.Version // an error ends the connection, and the next one begins with this
	}
}

// has notes what an agent tells that it has, which may be what it had before its last order.
func (a *agent) has(version string) {
	a.admits.Lock()
	defer a.admits.Unlock()
	if a.access == "" {
		a.access = version
	}
}
