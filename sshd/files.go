package sshd

import (
	"math"
	"syscall"
)

// openFiles is how many files, connections among them, the system lets this process
// have open at once. Go has raised the limit as far as the system lets it already.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}

// setFiles tells how many files the server may have open. Of those a quarter is for
// connections on which nobody has logged in, half for the others, and the rest is
// left for the store, images and nodes.
func (s *Server) setFiles(n int) {
	s.files = n
	s.logins.most = min(maxLogins, n/4)
}

// fitFiles lowers the limits to what the files allow, and says so.
func (s *Server) fitFiles(l Limits) Limits {
	most := s.files / 2
	if l.MaxConnections > most {
		s.log.Warn("the system lets the server have too few files open for max_connections: raise that with ulimit -n, or with LimitNOFILE= of systemd",
			"files", s.files, "max_connections", l.MaxConnections, "possible", most)
		l.MaxConnections = most
	}
	return l
}
