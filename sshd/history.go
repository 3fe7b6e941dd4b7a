package sshd

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"walt/auth"
	"walt/commands"
)

// maxLines is how many lines of its history a shell offers.
const maxLines = 500

// history is what x/term offers with the arrow keys: the lines that the user
// ran, in this shell and before. It reads the earlier ones when it is first
// asked.
type history struct {
	ctx   context.Context // the session's
	store History
	user  auth.Name
	log   *slog.Logger

	loaded bool
	lines  []string // the oldest first
	last   string   // that ran in this shell
}

// Add does nothing: x/term would have all lines remembered, also those that
// Ctrl-C gave up.
func (h *history) Add(string) {}

// Len returns how many lines there are.
func (h *history) Len() int {
	if !h.loaded {
		h.loaded = true
		ctx, cancel := context.WithTimeout(h.ctx, 5*time.Second)
		defer cancel()
		lines, err := h.store.Lines(ctx, h.user)
		if err != nil {
			h.log.Warn("a history could not be read", "user", h.user, "err", err)
		}
		h.lines = slices.Compact(lines)
	}
	return min(len(h.lines), maxLines)
}

// At returns a line; 0 is the latest.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }

// remember keeps a line that is run, unless it was the last one as well. The
// secrets in it are for this shell alone.
func (h *history) remember(line string) {
	if line == h.last {
		return
	}
	h.last = line
	if h.loaded {
		h.lines = append(h.lines, line)
	}
	if err := h.store.Append(h.ctx, h.user, commands.Conceal(line)); err != nil && h.ctx.Err() == nil {
		h.log.Warn("a history could not be written", "user", h.user, "err", err)
	}
}
