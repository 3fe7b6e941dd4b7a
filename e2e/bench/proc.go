//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// cpu is the processor time that a process has used, to 10 ms (proc(5)).
func cpu(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(stat, []byte(") ")) // past the name of the program
	fields := bytes.Fields(rest)
	var ticks int
	for _, i := range []int{11, 12} { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(string(fields[i]))
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// resident is the memory that a process has in RAM, in KiB.
func resident(pid int) (float64, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer status.Close()
	for s := bufio.NewScanner(status); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), "Rss:"); ok {
			return strconv.ParseFloat(strings.Fields(value)[0], 64)
		}
	}
	return 0, fmt.Errorf("process %d has no Rss", pid)
}

// most is the most memory, in KiB, that a process has in RAM while something is done.
func most(pid int, do func() error) (kib float64, err error) {
	var done atomic.Bool
	peak := make(chan float64)
	go func() { // ends with done
		var peaked float64
		for !done.Load() {
			if kib, err := resident(pid); err == nil {
				peaked = max(peaked, kib)
			}
			time.Sleep(10 * time.Millisecond)
		}
		peak <- peaked
	}()
	err = do()
	done.Store(true)
	return <-peak, err
}

// median is in milliseconds.
func median(all []time.Duration) float64 {
	return ms(slices.Sorted(slices.Values(all))[len(all)/2])
}

func worst(all []time.Duration) time.Duration { return slices.Max(all) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func lines(text string) int { return strings.Count(text, "\n") }

// switches is how often the threads of a process were given a processor.
func switches(pid int) (total float64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, file := range files {
		status, errRead := os.ReadFile(file)
		if errRead != nil {
			continue // the thread ended
		}
		for line := range strings.Lines(string(status)) {
			if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "ctxt_switches") {
				n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				if err != nil {
					return 0, err
				}
				total += n
			}
		}
	}
	return total, err
}

// writes is how many system calls of a process wrote.
func writes(pid int) (float64, error) {
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(io)) {
		if value, ok := strings.CutPrefix(line, "syscw:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("process %d has no syscw", pid)
}

// middle is the median.
func middle(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }
