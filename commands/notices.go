package commands

import (
	"context"
	"fmt"
)

// Welcome begins a login: it shows the notices that the user has not seen yet.
func (a *App) Welcome(ctx context.Context, s *Session) {
	texts, err := a.Journal.Unseen(ctx, string(s.User))
	if err != nil {
		a.Log.Error("read notices", "user", s.User, "err", err)
	}
	for _, text := range texts {
		fmt.Fprintf(s.Err, "walt: %s\n", clean(text))
	}
}

// Notices shows the user what comes up until ctx ends.
func (a *App) Notices(ctx context.Context, s *Session, show func(text string)) error {
	return a.Journal.Notices(ctx, string(s.User), func(text string) { show(clean(text)) })
}
