package dhcp

import (
	"context"
	"net/netip"
)

// Answer returns the answer to a packet, and where it goes; nil when there is none.
func (s *Server) Answer(ctx context.Context, packet []byte) ([]byte, netip.AddrPort) {
	q := question(packet)
	if q == nil {
		return nil, netip.AddrPort{}
	}
	b, to, _ := s.answer(ctx, q)
	return b, to
}

// AnswerDirectly returns the answer to a packet that came to port 4011, nil when there is
// none: it goes where the packet came from.
func (s *Server) AnswerDirectly(ctx context.Context, packet []byte) []byte {
	q := question(packet)
	if q == nil {
		return nil
	}
	return s.answerDirectly(ctx, q)
}
