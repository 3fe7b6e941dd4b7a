package boards

import (
	"context"
	"fmt"
	"io"
	"time"

	"walt/ethernet"
	"walt/netboot/tftp"
	"walt/nodes"
	"walt/pause"
)

const (
	// romTries is how often the ROM of a board asks for its address before it sleeps until
	// its power is cut, and romSleeps how long after the last time it does so certainly.
	romTries, romSleeps = 5, 10 * time.Second
	// romSilent is after how long without a word in the middle of a file it has stopped.
	romSilent = time.Minute
	// romWatch is how often that is looked at.
	romWatch = time.Second
)

// hasAsked notes that the ROM of a board asks for its address.
func (r *rom) hasAsked(now time.Time) {
	r.asked++
	r.fresh, r.loaded, r.late = true, false, time.Time{}
	if r.asked >= romTries {
		r.late, r.why = now.Add(romSleeps), fmt.Sprintf("its firmware asked %d times for its address, and for no file", r.asked)
	}
}

// romReader is a file of which is known whether it was read to its end.
type romReader struct {
	tftp.File
	read  int64 // where what was read ends
	ended func(whole bool)
}

func (f *romReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	f.read = max(f.read, at+int64(n))
	return n, err
}

func (f *romReader) Close() error {
	defer f.ended(f.read >= f.Size)
	return f.File.Close()
}

var _ io.ReaderAt = (*romReader)(nil)

// watched has a ROM that stops in the middle of a file be noticed. What became of a file
// counts as long as it is the last that was asked for, and until the kernel is there.
func (b *boards) watched(r *rom, name string, f tftp.File) tftp.File {
	b.mu.Lock()
	r.files++
	file := r.files
	b.mu.Unlock()
	reader := &romReader{File: f, ended: func(whole bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		r.loaded = r.loaded || whole && name == romKernelFile
		if !whole && !r.loaded && r.files == file {
			r.late, r.why = b.Now().Add(romSilent), fmt.Sprintf("its firmware stopped in the middle of the file %.100s", nodes.Plain(name))
		}
	}}
	f.ReaderAt, f.Closer = reader, reader
	return f
}

// watchROMs tells the lab of boards whose ROMs have stopped, until ctx ends.
func (b *boards) watchROMs(ctx context.Context) error {
	for pause.For(ctx, romWatch) == nil {
		for mac, why := range b.stopped() {
			if err := b.Lab.Asleep(ctx, mac, why); err != nil && ctx.Err() == nil {
				b.Log.Error("help a board whose firmware has stopped", "mac", mac, "err", err)
			}
		}
	}
	return nil
}

// stopped returns the boards whose ROMs have stopped, and why, each once.
func (b *boards) stopped() map[ethernet.MAC]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[ethernet.MAC]string{}
	now := b.Now()
	for mac, r := range b.roms {
		if !r.late.IsZero() && !now.Before(r.late) {
			found[mac] = r.why
			r.asked, r.late = 0, time.Time{}
		}
	}
	return found
}
