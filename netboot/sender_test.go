package netboot

import (
	"context"
	"errors"
	"io"
	"testing"
)

// What a machine has already is not looked for any longer than it waits for the rest.
func TestSkippingEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := &sender{ctx: ctx, w: io.Discard, from: 1 << 40}
	if n, err := s.Write(make([]byte, 1000)); n != 1000 || err != nil {
		t.Error(n, err)
	}
	cancel()
	if _, err := s.Write(make([]byte, 1000)); !errors.Is(err, context.Canceled) {
		t.Errorf("it goes on: %v", err)
	}
}
