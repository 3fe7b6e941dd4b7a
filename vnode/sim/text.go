package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// inputs calls do with each of the files that were given to a program, or with
// the input when there are none, and for "-".
func (sh *shell) inputs(ctx context.Context, program string, names []string, do func(name string, r io.Reader) error) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	status := 0
	for _, name := range names {
		if ctx.Err() != nil {
			return statusInterrupted
		}
		var err error
		if name == "-" {
			err = do(name, sh.in)
		} else {
			var f io.ReadCloser
			if f, err = sh.reader(name); err == nil {
				err = do(name, f)
				f.Close()
			}
		}
		if err != nil && !errors.Is(err, errInterrupted) && !errors.Is(err, io.ErrClosedPipe) {
			sh.complain("%s: can't open '%s': %s", program, name, sh.reason(err))
			status = 1
		}
	}
	return status
}

// lines calls do with the lines of an input, each with its end. One that is very
// long comes in parts. It stops when do returns false.
func (sh *shell) lines(ctx context.Context, from io.Reader, do func(line []byte) bool) error {
	r := bufio.NewReaderSize(from, longest)
	if in, ok := from.(*bufio.Reader); ok { // what is not used stays there
		r = in
	}
	for ctx.Err() == nil {
		line, err := r.ReadSlice('\n')
		if sh.count(ctx, len(line)); len(line) > 0 && !do(line) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	return nil
}

// count counts bytes as work, a block at a time.
func (sh *shell) count(ctx context.Context, n int) {
	if sh.bytes += n; sh.bytes >= 32<<10 {
		sh.bytes = 0
		sh.works(ctx)
	}
}

func (sh *shell) cat(ctx context.Context, args []string) int {
	_, names, ok := sh.flags("cat", "u", args)
	if !ok {
		return 1
	}
	return sh.inputs(ctx, "cat", names, func(_ string, r io.Reader) error { return sh.pour(ctx, r) })
}

func (sh *shell) wc(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("wc", "lwcm", args)
	if !ok {
		return 1
	}
	if letters == "" {
		letters = "lwc"
	}
	letters = strings.ReplaceAll(letters, "m", "c")
	tell := func(count [3]int, name string) {
		var words []string
		for i, letter := range "lwc" {
			if strings.ContainsRune(letters, letter) {
				words = append(words, strconv.Itoa(count[i]))
			}
		}
		if len(words) > 1 {
			for i := range words {
				words[i] = fmt.Sprintf("%9s", words[i])
			}
		}
		if name != "-" {
			words = append(words, printable(name))
		}
		sh.print(strings.Join(words, " ") + "\n")
	}
	var total [3]int
	status := sh.inputs(ctx, "wc", names, func(name string, r io.Reader) error {
		var count [3]int
		err := sh.lines(ctx, r, func(line []byte) bool {
			count[0] += oneIf(line[len(line)-1] == '\n')
			count[1] += len(strings.Fields(string(line)))
			count[2] += len(line)
			return true
		})
		if err == nil {
			tell(count, name)
		}
		for i, n := range count {
			total[i] += n
		}
		return err
	})
	if len(names) > 1 {
		tell(total, "total")
	}
	return status
}

// amount takes -n N, -c N and -N from arguments. N is 10 if there is none.
func (sh *shell) amount(program string, args []string) (n int, bytes bool, names []string, ok bool) {
	n = 10
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return n, bytes, append(names, args[i+1:]...), true
		}
		if len(arg) < 2 || arg[0] != '-' {
			names = append(names, arg)
			continue
		}
		digits := arg[1:]
		if digits[0] == 'n' || digits[0] == 'c' {
			bytes = digits[0] == 'c'
			if digits = digits[1:]; digits == "" && i+1 < len(args) {
				i++
				digits = args[i]
			}
		}
		v, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), 10, 31)
		if err != nil {
			sh.complain("%s: invalid number '%s'", program, digits)
			return 0, false, nil, false
		}
		n = int(v)
	}
	return n, bytes, names, true
}

func (sh *shell) head(ctx context.Context, args []string) int {
	n, bytes, names, ok := sh.amount("head", args)
	if !ok {
		return 1
	}
	return sh.inputs(ctx, "head", names, func(name string, r io.Reader) error {
		if len(names) > 1 {
			sh.print("==> " + printable(name) + " <==\n")
		}
		if bytes {
			return sh.pour(ctx, io.LimitReader(r, int64(n)))
		}
		if n == 0 {
			return nil
		}
		left := n
		return sh.lines(ctx, r, func(line []byte) bool {
			_, err := sh.out.Write(line)
			if line[len(line)-1] == '\n' {
				left--
			}
			return err == nil && left > 0
		})
	})
}

// hold keeps lines in memory, which it takes from the disk of the node.
type hold struct {
	*shell
	lines []string
	first int // of the lines that are still there
	taken int64
}

const lineCost = 64

func (h *hold) add(line []byte) error {
	n := int64(len(line) + lineCost)
	if err := h.node.disk.borrow(n); err != nil {
		return syscall.ENOMEM
	}
	h.taken += n
	h.lines = append(h.lines, string(line))
	return nil
}

// shift lets go of the first line.
func (h *hold) shift() {
	n := int64(len(h.lines[h.first]) + lineCost)
	_ = h.node.disk.borrow(-n)
	h.taken -= n
	h.lines[h.first] = ""
	if h.first++; h.first > 1024 && h.first > len(h.lines)/2 {
		h.lines, h.first = slices.Clone(h.lines[h.first:]), 0
	}
}

func (h *hold) free() { _ = h.node.disk.borrow(-h.taken) }

func (sh *shell) tail(ctx context.Context, args []string) int {
	n, bytes, names, ok := sh.amount("tail", args)
	if !ok {
		return 1
	}
	return sh.inputs(ctx, "tail", names, func(name string, r io.Reader) error {
		if len(names) > 1 {
			sh.print("==> " + printable(name) + " <==\n")
		}
		kept := &hold{shell: sh}
		defer kept.free()
		var full error
		size := 0
		err := sh.lines(ctx, r, func(line []byte) bool {
			if full = kept.add(line); full != nil {
				return false
			}
			for size += len(line); ; kept.shift() {
				first := len(kept.lines[kept.first])
				if bytes && size-first < n || !bytes && len(kept.lines)-kept.first <= n || kept.first == len(kept.lines)-1 {
					return true
				}
				size -= first
			}
		})
		if err == nil {
			err = full
		}
		text := kept.lines[kept.first:]
		if n == 0 {
			text = nil
		}
		for i, line := range text {
			if bytes && i == 0 && size > n {
				line = line[size-n:]
			}
			sh.print(line)
		}
		return err
	})
}

func (sh *shell) sort(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("sort", "nru", args)
	if !ok {
		return 1
	}
	all := &hold{shell: sh}
	defer all.free()
	status := sh.inputs(ctx, "sort", names, func(_ string, r io.Reader) (full error) {
		err := sh.lines(ctx, r, func(line []byte) bool {
			full = all.add([]byte(strings.TrimSuffix(string(line), "\n")))
			return full == nil
		})
		if err == nil {
			err = full
		}
		return err
	})
	number := func(s string) float64 {
		s = strings.TrimSpace(s)
		n := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("-.0123456789", r) })
		if n >= 0 {
			s = s[:n]
		}
		v, _ := strconv.ParseFloat(s, 64) // what is no number counts as 0
		return v
	}
	slices.SortStableFunc(all.lines, func(a, b string) int {
		order := 0
		if strings.Contains(letters, "n") {
			switch x, y := number(a), number(b); {
			case x < y:
				order = -1
			case x > y:
				order = 1
			}
		}
		if order == 0 {
			order = strings.Compare(a, b)
		}
		if strings.Contains(letters, "r") {
			order = -order
		}
		return order
	})
	for i, line := range all.lines {
		if ctx.Err() != nil || strings.Contains(letters, "u") && i > 0 && line == all.lines[i-1] {
			continue
		}
		sh.print(line + "\n")
	}
	return status
}
