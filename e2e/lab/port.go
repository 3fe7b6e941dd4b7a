package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
)

// holdAddress returns a TCP address on loopback, and what holds it: nobody else gets it, but
// one program may listen there, stop, and start again (SO_REUSEADDR of socket(7)). It is
// below the ports that the kernel gives to others by itself.
func holdAddress() (string, *os.File, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			return "", nil, os.NewSyscallError("socket", err)
		}
		syscall.CloseOnExec(fd)
		held := os.NewFile(uintptr(fd), "port")
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		if err == nil {
			err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		}
		if err == nil {
			return fmt.Sprintf("127.0.0.1:%d", port), held, nil
		}
		held.Close()
	}
	return "", nil, errors.New("no free port")
}

// ownAddress returns a UDP address of loopback which nobody else is going to choose: there
// are sixteen million hosts.
func ownAddress() (string, error) {
	host := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	c, err := net.ListenPacket("udp4", host.String()+":0")
	if err != nil {
		return "", err
	}
	return c.LocalAddr().String(), c.Close()
}
