package netboot

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"

	"golang.org/x/crypto/ssh"

	"walt/ethernet"
	"walt/state"
)

// identity is what a node keeps whatever image it boots, by its MAC.
type identity struct {
	HostKey string `json:"host_key"` // of its SSH server: private, Ed25519, PEM
}

var identities = state.NewTable[identity]("identity")

// identityOf returns the identity of a node, made when it is first asked for.
func (s *Server) identityOf(ctx context.Context, mac ethernet.MAC) (identity, error) {
	known, err := state.Read(ctx, s.Store, func(r state.Reader) (identity, error) { return identities.Get(r, string(mac)) })
	if !errors.Is(err, state.ErrNotFound) {
		return known, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return known, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return known, err
	}
	_, err = s.Store.Update(ctx, func(tx state.Tx) error {
		var found bool
		if known, found, err = identities.Find(tx, string(mac)); found || err != nil {
			return err
		}
		known = identity{HostKey: string(pem.EncodeToMemory(block))}
		return identities.Put(tx, string(mac), known)
	})
	return known, err
}

// HostKey returns the key that the SSH server of a node shows, nil when it has none of
// its own.
func (s *Server) HostKey(ctx context.Context, mac ethernet.MAC) (ssh.PublicKey, error) {
	known, err := state.Read(ctx, s.Store, func(r state.Reader) (identity, error) { return identities.Get(r, string(mac)) })
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	private, err := ssh.ParsePrivateKey([]byte(known.HostKey))
	if err != nil {
		return nil, err
	}
	return private.PublicKey(), nil
}

// machineID is that of machine-id(5), the same for a machine whatever it boots.
func machineID(mac ethernet.MAC) string {
	sum := sha256.Sum256([]byte("walt machine-id " + mac))
	return hex.EncodeToString(sum[:16])
}
