//go:build linux

package main

import (
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// told is a channel that notes what the client is told.
type told struct {
	ssh.Channel
	all chan string
}

func (t told) SendRequest(name string, _ bool, _ []byte) (bool, error) {
	t.all <- name
	return true, nil
}

func (t told) Close() error {
	t.all <- "closed"
	return nil
}

// A command that ends at once ends after its client was told that it has started.
func TestEndOfACommand(t *testing.T) {
	c := told{all: make(chan string, 2)}
	s := &session{channel: c, answered: make(chan struct{})}
	go s.end(3, "") // ends with the test
	select {
	case what := <-c.all:
		t.Errorf("before it was answered, the client got %s", what)
	case <-time.After(50 * time.Millisecond):
	}
	requests := make(chan *ssh.Request)
	close(requests)
	s.serve(requests)
	for _, want := range []string{"exit-status", "closed"} {
		if what := <-c.all; what != want {
			t.Errorf("got %s, want %s", what, want)
		}
	}
}
