package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestDisk(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOSPC: "the disk of the server is full",
		syscall.EDQUOT: "the disk of the server is full",
		syscall.EIO:    "the disk of the server fails: input/output error",
		syscall.EROFS:  "the disk of the server fails: read-only file system",
	} {
		err = fmt.Errorf("write: %w", &fs.PathError{Op: "open", Path: "/data/file", Err: err})
		if f := Disk(err); f == nil || f.Kind != Failed || f.Hint == "" || f.Msg != want {
			t.Errorf("%v is %#v, want %q", err, f, want)
		}
	}
	for _, err := range []error{nil, errors.New("no"), syscall.ENOENT, syscall.EACCES, syscall.ECONNRESET} {
		if f := Disk(err); f != nil {
			t.Errorf("%v is %v", err, f)
		}
	}
}
