package badger

import (
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger's own compactors look for work twenty times a second each, for ever. So
// it has none here, and merges its tables when it is told to: when a log was full
// and became a table. Until then nothing wakes.
const (
	// mergeFrom is how many tables of whole logs are merged with the others, and
	// stallFrom from how many on badger makes commits wait for that.
	mergeFrom, stallFrom = 2, 4
	// glanceAtLogs is how often it looks whether logs have become tables, and
	// afterFailure when it tries again.
	glanceAtLogs, afterFailure = 20 * time.Millisecond, time.Second
)

// compaction merges the tables of a store on disk.
type compaction struct {
	db    *badger.DB
	space *space
	full  chan struct{} // receives when a log was full
	stop  chan struct{} // closed by close
	done  sync.WaitGroup
}

// newCompaction returns a compaction that begins with what a crash left.
func newCompaction(db *badger.DB, space *space) *compaction {
	c := &compaction{db: db, space: space, full: make(chan struct{}, 1), stop: make(chan struct{})}
	c.begin()
	c.done.Go(c.run) // ends with close
	return c
}

// begin is for a log that was full.
func (c *compaction) begin() {
	select {
	case c.full <- struct{}{}:
	default: // it looks at all logs anyway
	}
}

func (c *compaction) run() {
	for {
		select {
		case <-c.stop:
			return
		case <-c.full:
		}
		end := c.space.guardTables()
		c.merge()
		end()
	}
}

// merge returns when all logs but the one that takes the commits are tables, and
// these are merged; with close as soon as badger ends the merge that runs.
func (c *compaction) merge() {
	for {
		logs, err := usedLogs(c.space.logs) // before the tables are counted, which come of these
		pause := glanceAtLogs
		switch {
		case c.db.Levels()[0].NumTables >= mergeFrom:
			if c.db.Flatten(1) != nil { // which logged why
				pause = afterFailure
			}
		case err == nil && len(logs) <= 1:
			return
		}
		select {
		case <-c.stop:
			return
		case <-time.After(pause):
		}
	}
}

func (c *compaction) close() {
	if c != nil {
		close(c.stop)
		c.done.Wait()
	}
}
