package fault

import (
	"errors"
	"syscall"
)

// failures are what a disk that fails answers.
var failures = []error{syscall.EIO, syscall.EROFS, syscall.ESTALE}

// Disk returns a fault when err says that a disk of the server is full or fails, else nil.
func Disk(err error) *Error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return Failedf("the disk of the server is full").WithHint("an administrator must make room on it")
	}
	for _, failure := range failures {
		if errors.Is(err, failure) {
			return Failedf("the disk of the server fails: %v", failure).WithHint("an administrator must look after it")
		}
	}
	return nil
}

// Reason is an error in a few words for users. What is none of theirs is called internal.
func Reason(err error) string {
	if f := As(err); f != nil {
		return f.Msg
	}
	if f := Disk(err); f != nil {
		return f.Msg
	}
	return "internal error"
}
