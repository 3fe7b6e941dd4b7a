package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// freeAddress returns an address on loopback that nothing listens on, for "tcp"
// or "udp". It is below the ports that the kernel gives to others by itself, so
// that it is still free for who stops listening there and starts again.
func freeAddress(network string) (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if network == "udp" {
			if c, err := net.ListenPacket(network, address); err == nil {
				return address, c.Close()
			}
		} else if l, err := net.Listen(network, address); err == nil {
			return address, l.Close()
		}
	}
	return "", errors.New("no free port")
}
