// Package content keeps the content of images, each once, by its digest: blobs as
// they came, the layers unpacked, and the merged files of an image. It knows no
// names of images and no place that they come from; who needs which content it
// is told when it collects garbage. Its one surprising rule: what has its name on
// the disk is whole and verified, so that nothing is checked again when it is read.
package content

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"walt/fault"
	"walt/images/flight"
)

// Store is a directory of files named by the SHA-256 of their content.
//
//	blobs/sha256/<hex>   manifests, configs and layers as they came, verified
//	derived/<hex>.tar    the layer <hex>, uncompressed; made again when lost
//	damaged/<hex>        blobs that the disk changed, to be looked at by people
//	tmp/                 what is being written; emptied at the start
//
// What has its name is complete: files are written in tmp and moved.
type Store struct {
	*Disk
	// Damaged is told of each blob that was found damaged, and where it is now;
	// may be nil.
	Damaged func(d Digest, aside string)

	now      func() time.Time
	leases   leases
	unpacked flight.Group[string] // by digest of a layer
	verified flight.Group[bool]   // by digest of a blob
	trees    trees
}

// Open opens the directory dir, which it makes if needed, and empties its tmp.
func Open(dir string, now func() time.Time) (*Store, error) {
	s := &Store{Disk: NewDisk(dir), now: now}
	err := os.RemoveAll(s.tmp())
	for _, sub := range []string{s.blobs(), s.derived(), s.tmp()} {
		err = cmp.Or(err, os.MkdirAll(sub, 0o700))
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

const derivedSuffix = ".tar"

func (s *Store) blobs() string   { return filepath.Join(s.dir, "blobs", "sha256") }
func (s *Store) derived() string { return filepath.Join(s.dir, "derived") }
func (s *Store) damaged() string { return filepath.Join(s.dir, "damaged") }
func (s *Store) tmp() string     { return filepath.Join(s.dir, "tmp") }

func (s *Store) blobPath(d Digest) string { return filepath.Join(s.blobs(), d.Hex()) }
func (s *Store) unpackedPath(d Digest) string {
	return filepath.Join(s.derived(), d.Hex()+derivedSuffix)
}

// Has reports whether the blob is here.
func (s *Store) Has(b Blob) bool {
	info, err := os.Stat(s.blobPath(b.Digest))
	return err == nil && info.Size() == b.Size
}

// Missing returns those of the blobs that are not here, each once.
func (s *Store) Missing(all []Blob) []Blob {
	var missing []Blob
	for _, b := range all {
		if !s.Has(b) && !slices.ContainsFunc(missing, func(m Blob) bool { return m.Digest == b.Digest }) {
			missing = append(missing, b)
		}
	}
	return missing
}

// Open opens a blob for reading.
func (s *Store) Open(d Digest) (*os.File, error) { return os.Open(s.blobPath(d)) }

// Read returns the whole content of a small blob.
func (s *Store) Read(d Digest) ([]byte, error) { return os.ReadFile(s.blobPath(d)) }

// Manifest reads the manifest of an image. It fails with a fault when it is not
// here, or damaged.
func (s *Store) Manifest(d Digest) (Manifest, error) {
	raw, err := s.Read(d)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fault.Failedf("the content %s of the image is not on this server", d).
			WithHint("clone the image again")
	}
	if err != nil {
		return Manifest{}, err
	}
	if Sum(raw) != d {
		return Manifest{}, errors.Join(errDamaged, fault.Failedf("the content %s of the image was damaged on this server", d).
			WithHint("clone the image again"))
	}
	return ParseManifest(raw)
}

// errDamaged says that the disk changed a content.
var errDamaged = errors.New("damaged")

// Sum is the digest of a content.
func Sum(b []byte) Digest {
	h := sha256.Sum256(b)
	return Digest(algorithm + hex.EncodeToString(h[:]))
}

// copyBuffer is how many bytes are written and hashed at a time.
const copyBuffer = 128 << 10

// hashed copies r to w and returns the digest and the number of its bytes.
func hashed(w io.Writer, r io.Reader) (Digest, int64, error) {
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w, hash), r, make([]byte, copyBuffer))
	return Digest(algorithm + hex.EncodeToString(hash.Sum(nil))), n, err
}

// Add stores what r holds as the blob b, durably, unless it is not b: then the
// error wraps ErrMismatch and nothing is left of it. A full disk is ENOSPC.
func (s *Store) Add(b Blob, r io.Reader) error {
	return s.write(s.blobPath(b.Digest), func(w io.Writer) error {
		// one byte more than promised tells that there is too much
		d, n, err := hashed(w, io.LimitReader(r, b.Size+1))
		if err != nil {
			return err
		}
		if n != b.Size || d != b.Digest {
			return fmt.Errorf("%s: %w", b.Digest, ErrMismatch)
		}
		return nil
	})
}

// TempDir makes a directory for blobs whose digest is not known before they are
// written: see Spill and Adopt. The caller removes it.
func (s *Store) TempDir() (string, error) { return os.MkdirTemp(s.tmp(), "") }

// Spill writes what r holds to a file of a TempDir, named by its digest in
// hexadecimal digits.
func (s *Store) Spill(dir string, r io.Reader) (Blob, error) {
	f, err := os.CreateTemp(dir, "spill-")
	if err != nil {
		return Blob{}, err
	}
	d, n, err := hashed(s.Writer(f), r)
	if err = cmp.Or(err, f.Close()); err != nil {
		return Blob{}, err
	}
	return Blob{Digest: d, Size: n}, os.Rename(f.Name(), filepath.Join(dir, d.Hex()))
}

// Adopt makes a file that Spill wrote to a TempDir a blob of the store, durably.
func (s *Store) Adopt(dir string, b Blob) error {
	if s.Has(b) {
		return nil
	}
	file := filepath.Join(dir, b.Digest.Hex())
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	err = f.Sync()
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(file, s.blobPath(b.Digest))
	}
	if err != nil {
		return err
	}
	return syncDir(s.blobs())
}

// write makes a file of the store.
func (s *Store) write(path string, fill func(io.Writer) error) error {
	return s.WriteFile(path, s.tmp(), fill)
}
