package intake

import (
	"context"
	"fmt"
	"net"
	"time"
)

// trouble is something wrong on the network, until it is not so for calmAfter.
type trouble struct {
	text string
	n    uint64 // how often it was so, in all
	told uint64 // the n of when the lab was told
	last time.Time
}

// tell tells, while there is something to tell, what was lost and what was dropped.
func (s *Server) tell(ctx context.Context, conns ...net.PacketConn) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	before := make([]uint64, len(conns))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s.tellLost()
		for i, conn := range conns {
			if d, ok := conn.(Dropper); ok {
				now := d.Dropped()
				s.trouble(droppedKey, "lines of nodes were lost: they came faster by UDP than they could be taken", now-before[i])
				before[i] = now
			}
		}
		s.tellTroubles(ctx)
	}
}

const (
	strangersKey = "lines of strangers"
	droppedKey   = "lines dropped"
)

// tellLost has lines say of each node how many of its lines were lost.
func (s *Server) tellLost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who, src := range s.sources {
		if time.Since(src.last) > time.Hour {
			delete(s.sources, who)
		}
		for _, line := range src.kernel.late(time.Now()) {
			s.lines.Add(who.node, who.owner, kernelStream, line)
		}
		if n := src.lost; n > 0 && s.lines.Note(who.node, who.owner, fmt.Sprintf("%d lines were lost here: a node may say %d a second", n, s.each)) {
			src.lost = 0
		}
		if n := src.kernel.missing; n > 0 && s.lines.Note(who.node, who.owner, fmt.Sprintf("%d messages of its kernel are not here: lost, or below the level that its consoles show", n)) {
			src.kernel.missing = 0
		}
	}
}

// trouble notes that something was wrong so often.
func (s *Server) trouble(key, text string, n uint64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.troubles[key]
	if t == nil {
		t = &trouble{text: text} // the first of them
		s.troubles[key] = t
	}
	t.n += n
	t.last = time.Now()
}

// tellTroubles tells the lab of what is wrong, and again when it was so ten times as often;
// and of what is over.
func (s *Server) tellTroubles(ctx context.Context) {
	s.mu.Lock()
	tell := map[string]string{}
	for key, t := range s.troubles {
		if time.Since(t.last) > calmAfter {
			delete(s.troubles, key)
			s.log.Info("over by now: "+t.text, "packets", t.n)
			s.lab.Calmed(key)
		} else if t.n/10 >= t.told {
			t.told = t.n
			tell[key] = fmt.Sprintf("%s (%d so far)", t.text, t.n)
		}
	}
	s.mu.Unlock()
	for key, text := range tell {
		s.lab.Troubled(ctx, key, text)
	}
}
