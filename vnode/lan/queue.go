package lan

import "sync"

// queued is how many frames of one sender may wait for a machine that is slow to
// take them; what comes then is lost, as on a wire.
const queued = 1024

// queue is what waits for one machine. The senders take turns, so that none keeps
// out what the others send: neither a machine that floods another one, nor the server.
type queue struct {
	ready chan struct{} // has a value when something waits

	mu    sync.Mutex
	from  map[*Port][][]byte // nil is the server
	turns []*Port            // of whom something waits; whose turn it is is the first
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), from: map[*Port][][]byte{}}
}

// put has a frame wait.
func (q *queue) put(from *Port, frame []byte) {
	q.mu.Lock()
	waiting := q.from[from]
	if len(waiting) == queued {
		q.mu.Unlock()
		return
	}
	if q.from[from] = append(waiting, frame); len(waiting) == 0 {
		q.turns = append(q.turns, from)
	}
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns the next frame, nil when there is none.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		return nil
	}
	from := q.turns[0]
	waiting := q.from[from]
	q.turns = q.turns[1:]
	if len(waiting) == 1 {
		delete(q.from, from)
	} else {
		q.from[from] = waiting[1:]
		q.turns = append(q.turns, from)
	}
	return waiting[0]
}
