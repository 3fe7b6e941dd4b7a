package lab

import (
	"math/rand/v2"
	"net"
)

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
