package badger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/state"
	"walt/state/badger"
)

// BenchmarkUpdate has writers change rows of their own, all at once.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 8, 32} {
		b.Run(strconv.Itoa(writers), func(b *testing.B) {
			s := open(b, b.TempDir())
			value := strings.Repeat("v", 500)
			b.ResetTimer()
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					for i := range (b.N + w) / writers {
						if err := put(s, fmt.Sprintf("key/%d/%d", w, i%100), value); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}

// BenchmarkHotKey has 32 writers change one row; another changes its own row
// beside them. It reports what most and nearly all of them wait.
func BenchmarkHotKey(b *testing.B) {
	s := open(b, b.TempDir())
	const writers = 32
	var waits, beside []time.Duration
	var mu sync.Mutex
	var all sync.WaitGroup
	done := make(chan struct{})
	increment := func(key string) error {
		_, err := s.Update(b.Context(), func(tx state.Tx) error {
			n := 0
			if v, err := tx.Get(key); err == nil {
				n, _ = strconv.Atoi(string(v))
			}
			return tx.Put(key, []byte(strconv.Itoa(n+1)))
		})
		return err
	}
	var left sync.WaitGroup
	left.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			start := time.Now()
			if err := increment("cold"); err != nil {
				b.Error(err)
			}
			beside = append(beside, time.Since(start))
		}
	})
	b.ResetTimer()
	for range writers {
		all.Go(func() {
			var own []time.Duration
			for range b.N/writers + 1 {
				start := time.Now()
				if err := increment("hot"); err != nil {
					b.Error(err)
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, own...)
		})
	}
	all.Wait()
	b.StopTimer()
	close(done)
	left.Wait()
	report(b, "", waits)
	report(b, "beside-", beside)
}

func report(b *testing.B, name string, waits []time.Duration) {
	slices.Sort(waits)
	if len(waits) == 0 {
		return
	}
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), name+"p50-us")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), name+"p99-us")
	b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), name+"max-us")
}

// record is about as large as the lab's records are.
type record struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Model    string    `json:"model,omitempty"`
	MAC      string    `json:"mac"`
	IP       string    `json:"ip,omitempty"`
	Image    string    `json:"image,omitempty"`
	Booted   string    `json:"booted,omitempty"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Used     time.Time `json:"used"`
	Virtual  bool      `json:"virtual,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
}

var records = state.NewTable[record]("node")

const rows = 10_000

func filled(b *testing.B) *badger.Store { return fill(b, open(b, b.TempDir())) }

func fill(b *testing.B, s *badger.Store) *badger.Store {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for i := 0; i < rows; i += 100 {
		_, err := s.Update(b.Context(), func(tx state.Tx) error {
			for j := i; j < i+100; j++ {
				r := record{
					Name: fmt.Sprintf("rpi-%05d", j), Type: "node", Model: "rpi-3-b",
					MAC: fmt.Sprintf("b8:27:eb:00:%02x:%02x", j>>8, j&255), IP: fmt.Sprintf("10.1.%d.%d", j>>8, j&255),
					Image: "alice/rpi-3-b-default:latest", State: "up", Since: at, Used: at.Add(time.Hour), Attempts: 1,
				}
				if err := records.Put(tx, r.Name, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func benchmarkView(b *testing.B, s state.Store, read func(state.Reader) (int, error)) {
	b.ReportAllocs()
	for b.Loop() {
		err := s.View(b.Context(), func(r state.Reader) error {
			n, err := read(r)
			if n != rows {
				b.Fatalf("%d rows", n)
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeys(b *testing.B) {
	benchmarkView(b, filled(b), func(r state.Reader) (n int, err error) {
		for _, err = range r.Keys("node/", "") {
			n++
		}
		return n, err
	})
}

func BenchmarkScan(b *testing.B) {
	benchmarkView(b, filled(b), func(r state.Reader) (n int, err error) {
		for _, err = range r.Scan("node/", "") {
			n++
		}
		return n, err
	})
}

func BenchmarkTableScan(b *testing.B) {
	benchmarkView(b, filled(b), func(r state.Reader) (n int, err error) {
		for _, err = range records.Scan(r, "", "") {
			n++
		}
		return n, err
	})
}

// BenchmarkScanAged reads 100 rows that were changed 60,000 times, and as many that
// never were.
func BenchmarkScanAged(b *testing.B) {
	for _, changes := range []int{1, 600} {
		b.Run(strconv.Itoa(changes), func(b *testing.B) {
			s := memory(b)
			for range changes {
				_, err := s.Update(b.Context(), func(tx state.Tx) error {
					for i := range 100 {
						if err := tx.Put(fmt.Sprintf("node/%03d", i), make([]byte, 100)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				err := s.View(b.Context(), func(r state.Reader) error {
					n := 0
					for _, err := range r.Scan("node/", "") {
						if err != nil {
							return err
						}
						n++
					}
					if n != 100 {
						b.Fatalf("%d rows", n)
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	text, err := json.Marshal(record{
		Name: "rpi-00001", Type: "node", Model: "rpi-3-b", MAC: "b8:27:eb:00:00:01", IP: "10.1.0.1",
		Image: "alice/rpi-3-b-default:latest", State: "up", Since: time.Now().UTC(), Used: time.Now().UTC(), Attempts: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var r record
		if err := json.Unmarshal(text, &r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a store of 10,000 records that was closed, and one as a
// kill leaves it.
func BenchmarkOpen(b *testing.B) {
	killed, closed := b.TempDir(), filepath.Join(b.TempDir(), "closed")
	live := fill(b, open(b, killed))
	var copied bytes.Buffer
	if err := state.Backup(b.Context(), live, &copied); err != nil {
		b.Fatal(err)
	}
	if err := badger.Restore(closed, &copied); err != nil {
		b.Fatal(err)
	}
	for name, dir := range map[string]string{"closed": closed, "killed": killed} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				fresh := filepath.Join(b.TempDir(), strconv.Itoa(i))
				if err := os.CopyFS(fresh, os.DirFS(dir)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				s, err := badger.Open(fresh, nil)
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				os.RemoveAll(fresh)
				b.StartTimer()
			}
		})
	}
}
