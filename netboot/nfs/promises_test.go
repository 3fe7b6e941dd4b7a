package nfs

import (
	"archive/tar"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"walt/images/imagetest"
)

// inUse is how many bytes the program has in use, what is garbage by now included.
func inUse() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// Twenty machines that read at once from an image with as many files as a Debian has
// cost less than 100 MiB, with the files, and with what their clients here need.
func TestMemoryForMachines(t *testing.T) {
	runtime.GC()
	idle := inUse()
	var all []*tar.Header
	for k := range 30_000 {
		all = append(all, regular(fmt.Sprintf("usr/lib/%d/%d", k%300, k), ""))
	}
	all = append(all, regular("big", strings.Repeat("x", 1<<20)))
	d, tree := image(t, imagetest.Archive(t, all...))
	all = nil
	addr, _, _ := start(t, open{tree})
	var clients sync.WaitGroup
	for k := range 20 {
		c := dial(t, addr, fmt.Sprintf("127.0.2.%d", k+1))
		clients.Go(func() {
			root := c.mount(d)
			big, _ := c.lookup(root, "big")
			call := slices.Clone(c.message(programNFS, version, 6, encode(big, uint64(0), readLimit)))
			for range 20 { // as many calls under way as Linux has when it reads ahead
				if _, err := c.conn.Write(slices.Concat(call, call, call, call, call, call, call, call)); err != nil {
					t.Error(err)
					return
				}
				for range 8 {
					if err := c.skip(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { // ends with the clients
		clients.Wait()
		close(done)
	}()
	most := inUse()
	for {
		select {
		case <-done:
			t.Logf("%d MiB more than before", (most-idle)>>20)
			if most-idle > 100<<20 {
				t.Errorf("20 machines take %d MiB", (most-idle)>>20)
			}
			return
		default:
			most = max(most, inUse())
			runtime.Gosched()
		}
	}
}
