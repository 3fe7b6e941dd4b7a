//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"walt/e2e/lab"
)

// nfs runs the benchmarks of the NFS server, on loopback and with clients in Go, and
// holds what they tell against the promises.
func (b *bench) nfs(*lab.Lab) error {
	test := exec.Command("go", "test", "-v", "-count=1", "-run", "TestMemoryForMachines", "-bench", "Getattr|Read$|Lookup|Echo", "-benchtime", "3s", "./netboot/nfs")
	out, err := test.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the benchmarks of netboot/nfs: %w\n%s", err, out)
	}
	echo := 0.0
	for _, f := range []struct {
		pattern string
		line
	}{
		{`BenchmarkRead.*\s([\d.]+) MB/s`, line{figure: "NFS: reading from memory, ten clients on loopback", unit: "MB/s", least: 1000}},
		{`BenchmarkGetattr.*\s([\d.]+) calls/s`, line{figure: "NFS: getattr, ten clients on loopback", unit: "/s", least: 50_000}},
		{`BenchmarkLookup/8.*\s([\d.]+) cpu-us/op`, line{figure: "NFS: server CPU of 1,000 look-ups, eight under way", unit: "ms", most: 10}},
		{`BenchmarkEcho.*\s([\d.]+) cpu-us/op`, line{figure: "CPU of a server that echoes as many bytes 1,000 times", unit: "ms"}},
		{`BenchmarkLookup/1.*\s([\d.]+) cpu-us/op`, line{figure: "NFS: server CPU of 1,000 look-ups, one after the other", unit: "ms", to: "an echo", most: 1.3}},
		{`(\d+) MiB more than before`, line{figure: "NFS: memory for 20 machines on one image", unit: "MiB", most: 100}},
	} {
		found := regexp.MustCompile(f.pattern).FindSubmatch(out)
		if found == nil {
			return fmt.Errorf("the benchmarks of netboot/nfs tell nothing of %s:\n%s", f.figure, bytes.TrimSpace(out))
		}
		if f.got, err = strconv.ParseFloat(string(found[1]), 64); err != nil {
			return err
		}
		if f.to != "" {
			f.base = echo
		}
		echo = f.got // of the line after that of the echo
		b.print(f.line)
	}
	return nil
}
