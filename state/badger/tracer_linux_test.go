package badger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracedEvent is one thing that a traced server did, in the order in which it did
// them: a thread that is about to make a system call waits until it is noted.
type tracedEvent struct {
	// Kind is "sync" when the synchronisation of a file begins, "synced" when it
	// ended well, "answer" when bytes are about to leave for a client, and "row"
	// when a transaction is found in a log for the first time.
	Kind   string
	Thread int    // of sync and synced
	File   string // of sync, synced and row: the base name
	End    int    // of sync: up to where whole transactions are in it; of row: where its transaction ends
	Key    string // of row
	Port   int    // of answer: the client's
	Begin  int    // of answer: how many bytes have left for that client before
}

// tracedCalls are the system calls that the tracer is told of: stopping at each
// would take the server twice as long.
var tracedCalls = []uint32{
	unix.SYS_MSYNC, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE,
	unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_SENDTO, unix.SYS_SENDMSG,
}

// TraceProgram runs a program, which begins with BecomeTraced, as strace(1) does, and
// writes a tracedEvent a line. It returns when the program ended, and a kill ends
// both.
func TraceProgram(program string, args []string, out io.Writer) error {
	runtime.LockOSThread() // whose child the program is
	p := exec.Command(program, args...)
	p.Stdout, p.Stderr = os.Stdout, os.Stderr
	p.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := p.Start(); err != nil {
		return err
	}
	t := &tracer{
		pid: p.Process.Pid, out: json.NewEncoder(out),
		logs: map[string]*tracedLog{}, sent: map[string]int{}, ports: map[string]int{}, calls: map[int]tracedCall{},
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(t.pid, &status, 0, nil); err != nil {
		return err
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(t.pid, options); err != nil {
		return err
	}
	for thread := t.pid; ; {
		signal, err := t.stopped(thread, status)
		if err != nil {
			return err
		}
		if status.Stopped() {
			goOn := syscall.PtraceCont
			if _, calls := t.calls[thread]; calls {
				goOn = syscall.PtraceSyscall // to its end
			}
			if err := goOn(thread, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		} else if thread == t.pid {
			return nil
		}
		if thread, err = syscall.Wait4(-1, &status, syscall.WALL, nil); err != nil {
			return err
		}
	}
}

// BecomeTraced turns this process into a program that stops at the traced calls.
func BecomeTraced(program string, args []string) error {
	runtime.LockOSThread()                                                 // the filter is that of a thread
	load := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS} // the number of the call
	filter := []unix.SockFilter{load}
	for _, call := range tracedCalls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRACE})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	set := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&set)), 0, 0); err != nil {
		return err
	}
	return syscall.Exec(program, append([]string{program}, args...), os.Environ())
}

type tracer struct {
	pid   int
	out   *json.Encoder
	logs  map[string]*tracedLog
	sent  map[string]int     // bytes to each socket
	ports map[string]int     // of the client at the other end of a socket; 0: none
	calls map[int]tracedCall // that a thread is in
}

// tracedCall is a system call that has begun and whose end matters.
type tracedCall struct {
	call uint64
	file string // or socket
}

// stopped looks at a thread that has stopped, and returns the signal that it is to
// get.
func (t *tracer) stopped(thread int, status syscall.WaitStatus) (signal int, err error) {
	const ofCall = syscall.SIGTRAP | 0x80
	switch {
	case !status.Stopped():
		return 0, nil
	case status.StopSignal() == ofCall, status.TrapCause() == unix.PTRACE_EVENT_SECCOMP:
		return 0, t.called(thread)
	case status.StopSignal() == syscall.SIGTRAP, status.StopSignal() == syscall.SIGSTOP: // a new thread
		return 0, nil
	}
	return int(status.StopSignal()), nil
}

// callInfo is struct ptrace_syscall_info of ptrace(2).
type callInfo struct {
	Op         uint8 // 2: a call ended, 3: one that the filter told of begins
	_          [3]uint8
	_          uint32
	_, _       uint64
	NrOrResult uint64
	Args       [6]uint64
}

// called notes a system call that begins or ended.
func (t *tracer) called(thread int) error {
	const getCallInfo = 0x420e
	var info callInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getCallInfo, uintptr(thread), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("what a thread calls: %w", errno)
	}
	switch info.Op {
	case 3:
		call, err := t.begins(thread, info.NrOrResult, info.Args)
		if call.call != 0 {
			t.calls[thread] = call
		}
		return err
	case 2:
		call := t.calls[thread]
		delete(t.calls, thread)
		return t.ends(thread, call, int64(info.NrOrResult))
	}
	return nil
}

func (t *tracer) begins(thread int, call uint64, args [6]uint64) (tracedCall, error) {
	var file string
	switch call {
	case unix.SYS_MSYNC:
		file = t.mapped(args[0], args[1])
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		file = t.opened(args[0])
	case unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_SENDTO, unix.SYS_SENDMSG:
		socket := t.opened(args[0])
		if port := t.client(socket); port != 0 {
			return tracedCall{call, socket}, t.out.Encode(tracedEvent{Kind: "answer", Port: port, Begin: t.sent[socket]})
		}
		return tracedCall{}, nil
	case unix.SYS_FTRUNCATE: // a log that became a table is about to go
		if file = t.opened(args[0]); args[1] == 0 {
			_, err := t.read(file)
			return tracedCall{}, err
		}
		return tracedCall{}, nil
	default:
		return tracedCall{}, nil
	}
	end, err := t.read(file)
	if err != nil {
		return tracedCall{}, err
	}
	return tracedCall{call, file}, t.out.Encode(tracedEvent{Kind: "sync", Thread: thread, File: filepath.Base(file), End: end})
}

func (t *tracer) ends(thread int, call tracedCall, result int64) error {
	switch call.call {
	case unix.SYS_MSYNC, unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		if result != 0 {
			return nil
		}
		return t.out.Encode(tracedEvent{Kind: "synced", Thread: thread, File: filepath.Base(call.file)})
	}
	t.sent[call.file] += int(max(result, 0))
	return nil
}

// opened is the path of a file that the server has open, or the name of a socket.
func (t *tracer) opened(fd uint64) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, fd))
	return path
}

// mapped is the path of the file that is mapped, from its beginning, to all of
// that memory.
func (t *tracer) mapped(from, length uint64) string {
	maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", t.pid))
	for line := range strings.Lines(string(maps)) {
		var begin, end, offset uint64
		var mode, device, inode, path string
		fmt.Sscanf(line, "%x-%x %s %x %s %s %s", &begin, &end, &mode, &offset, &device, &inode, &path)
		if begin == from && from+length <= end && offset == 0 {
			return path
		}
	}
	return ""
}

// client is the port of the other end of a socket, 0 if it has none.
func (t *tracer) client(socket string) int {
	inode, ok := strings.CutPrefix(socket, "socket:[")
	if !ok {
		return 0
	}
	inode = strings.TrimSuffix(inode, "]")
	if port, known := t.ports[inode]; known {
		return port
	}
	connections, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", t.pid))
	for line := range strings.Lines(string(connections)) {
		if f := strings.Fields(line); len(f) > 9 && f[9] == inode {
			_, hex, _ := strings.Cut(f[2], ":")
			port, _ := strconv.ParseUint(hex, 16, 16)
			t.ports[inode] = int(port)
		}
	}
	return t.ports[inode]
}

// tracedLog is a log as far as it was read.
type tracedLog struct {
	end  int      // of the last whole transaction
	at   int      // of the records that were read
	keys []string // of the transaction that is not whole
}

// read reads what came into a log since the last time, and returns where its last
// whole transaction ends. Another file has none.
func (t *tracer) read(path string) (end int, err error) {
	if filepath.Ext(path) != ".mem" {
		return 0, nil
	}
	l := t.logs[path]
	if l == nil {
		l = &tracedLog{end: logHeader, at: logHeader}
		t.logs[path] = l
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fresh, err := io.ReadAll(io.NewSectionReader(f, int64(l.at), logSize))
	if err != nil {
		return 0, err
	}
	for {
		r, ok := readRecord(fresh)
		if !ok {
			return l.end, nil
		}
		l.at, fresh = l.at+r.length, fresh[r.length:]
		if !bytes.HasPrefix(r.key, []byte("!badger!")) {
			l.keys = append(l.keys, string(r.key[:len(r.key)-versionSize]))
		}
		if !r.last {
			continue
		}
		l.end = l.at
		for _, key := range l.keys {
			if err := t.out.Encode(tracedEvent{Kind: "row", File: filepath.Base(path), End: l.end, Key: key}); err != nil {
				return 0, err
			}
		}
		l.keys = l.keys[:0]
	}
}
