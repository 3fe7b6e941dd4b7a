package badger

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// logger passes badger's messages on: trouble as it is, chatter as debug. What fails badger
// tries again every second, for ever, and says so each time: here it is said seldom.
type logger struct {
	log       *slog.Logger // nil for none
	unwritten func(error)  // called when badger could not make a table of a log; nil for nobody

	mu   sync.Mutex
	said map[string]time.Time // when there was trouble of a kind, by its format
}

const (
	// again is after how long trouble of the same kind is said once more.
	again = 10 * time.Minute
	// flushFails is the format of badger's for what unwritten is told.
	flushFails = "error flushing memtable to disk: %v, retrying"
)

func newLogger(log *slog.Logger, unwritten func(error)) *logger {
	return &logger{log: log, unwritten: unwritten, said: map[string]time.Time{}}
}

func (l *logger) Errorf(f string, a ...any) {
	if err, is := first(a).(error); is && f == flushFails && l.unwritten != nil {
		l.unwritten(err)
	}
	l.trouble(slog.LevelError, f, a)
}

func (l *logger) Warningf(f string, a ...any) { l.trouble(slog.LevelWarn, f, a) }
func (l *logger) Infof(f string, a ...any)    { l.say(slog.LevelDebug, f, a) }
func (l *logger) Debugf(f string, a ...any)   { l.say(slog.LevelDebug, f, a) }

func (l *logger) trouble(level slog.Level, f string, a []any) {
	l.mu.Lock()
	now := time.Now()
	said, known := l.said[f]
	late := !known || now.Sub(said) >= again
	if late {
		l.said[f] = now
	}
	l.mu.Unlock()
	if late {
		l.say(level, f, a)
	}
}

func (l *logger) say(level slog.Level, f string, a []any) {
	if l.log != nil && l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "badger: "+fmt.Sprintf(f, a...))
	}
}

func first(a []any) any {
	if len(a) == 0 {
		return nil
	}
	return a[0]
}
