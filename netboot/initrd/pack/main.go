// Pack compresses programs for machines, so that the server can have them in it:
//
//	pack DIRECTORY PROGRAM...
//
// It writes DIRECTORY/NAME.zst for each of them.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "pack DIRECTORY PROGRAM...")
		os.Exit(2)
	}
	for _, name := range os.Args[2:] {
		if err := pack(name, filepath.Join(os.Args[1], filepath.Base(name)+".zst")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// pack makes the file new, or leaves it as it was.
func pack(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	// The window, which reading needs, holds the whole program.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", z.EncodeAll(b, nil), 0o644); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
