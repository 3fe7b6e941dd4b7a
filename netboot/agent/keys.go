//go:build linux

package main

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/ssh"
)

var errHostKey = errors.New("the host key is no Ed25519 key")

// ed25519Of is a key of the only kind that nodes have.
func ed25519Of(key any) (ed25519.PrivateKey, ssh.PublicKey, error) {
	var private ed25519.PrivateKey
	switch key := key.(type) {
	case *ed25519.PrivateKey:
		private = *key
	case ed25519.PrivateKey:
		private = key
	default:
		return nil, nil, errHostKey
	}
	public, err := ssh.NewPublicKey(private.Public())
	return private, public, err
}

// dropbearKey is a key in the form of dropbear's files: two strings with their length,
// the kind, and the private key with the public one behind it.
func dropbearKey(key ed25519.PrivateKey) []byte {
	var b []byte
	for _, s := range []string{ssh.KeyAlgoED25519, string(key)} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return b
}
