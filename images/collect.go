package images

import (
	"context"
	"fmt"
	"time"

	"walt/images/content"
	"walt/journal"
)

// collectEvery is the pause between collections.
const collectEvery = time.Hour

// Garbage is content that no image needs.
type Garbage = content.Garbage

// Collect frees the content that no record refers to, or with dry only counts
// it. What a running Fetch needs stays, and so does what one brought or used
// within the last hour.
func (l *Library) Collect(ctx context.Context, dry bool) (Garbage, error) {
	used, err := l.digests(ctx)
	if err != nil {
		return Garbage{}, fmt.Errorf("look for the content in use: %w", err)
	}
	return l.content.Collect(ctx, used, dry)
}

// Pause keeps all content from being collected until end is called.
func (l *Library) Pause() (end func()) { return l.content.Pause() }

// Run collects every hour, until ctx ends. A collection that fails is noted in
// the journal; the next one tries again.
func (l *Library) Run(ctx context.Context) error {
	every := time.NewTicker(collectEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		g, err := l.Collect(ctx, false)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && g.Blobs == 0 {
			continue
		}
		e := journal.Event{Type: journal.Image, Actor: journal.Server, Detail: fmt.Sprintf("freed %d bytes that no image needed", g.Bytes)}
		if err != nil {
			e.Detail = fmt.Sprintf("could not free what no image needs: %v", err)
		}
		if err := l.log.Add(ctx, e); err != nil && ctx.Err() == nil {
			return err
		}
	}
}
