//go:build linux

package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// What nodes say is measured with speakers of them, which say linesASecond together for
// sayFor.
const (
	speakers     = 20
	linesASecond = 10_000
	sayFor       = 10 * time.Second
	syslogPort   = 514
)

// said measures what it costs to keep the lines of nodes.
func (s *segment) said() error {
	client, err := s.Dial(user)
	if err != nil {
		return err
	}
	defer client.Close()
	alone, err := bystander(client, 2*time.Second)
	if err != nil {
		return err
	}
	for _, network := range []string{"TCP", "UDP"} {
		if err := s.saidBy(network, client, alone); err != nil {
			return err
		}
	}
	return s.chatty(client)
}

// bystander asks for the nodes again and again, and returns how long that took each time.
func bystander(c *ssh.Client, d time.Duration) (all []time.Duration, err error) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		once, err := took(c, "node show --all")
		if err != nil {
			return nil, err
		}
		all = append(all, once)
	}
	return all, nil
}

// saidBy measures the lines of all speakers, while a user is there.
func (s *segment) saidBy(network string, client *ssh.Client, alone []time.Duration) error {
	before, err := cpu(s.Pid())
	if err != nil {
		return err
	}
	stream := "bench-" + strings.ToLower(network)
	begun := time.Now()
	var meanwhile []time.Duration
	var all errgroup.Group
	for _, d := range s.booted[:speakers] {
		all.Go(func() error { return d.say(network, stream, linesASecond/speakers, sayFor) })
	}
	all.Go(func() (err error) {
		meanwhile, err = bystander(client, sayFor)
		return err
	})
	if err := all.Wait(); err != nil {
		return err
	}
	took := time.Since(begun)
	after, err := cpu(s.Pid())
	if err != nil {
		return err
	}
	kept, err := s.kept(client, stream)
	if err != nil {
		return err
	}
	sent := linesASecond * int(sayFor/time.Second)
	name := fmt.Sprintf("%d lines a second by %s: ", linesASecond, network)
	l := line{figure: name + "kept", got: float64(kept) / float64(sent) * 100, unit: "%"}
	if network == "TCP" {
		l.least = 100
	}
	s.print(l)
	s.say(name+"server CPU, with a user's commands", float64(after-before)/float64(took)*100, 40, "% of one")
	s.print(line{figure: name + "node show --all of a user, p50", got: median(meanwhile), unit: "ms", base: median(alone), to: "alone"})
	return nil
}

// chatty measures what is left of the lines of one node, while another one says as much as it
// can.
func (s *segment) chatty(client *ssh.Client) error {
	const lines, d = 100, 5 * time.Second
	var all errgroup.Group
	all.Go(func() error { return s.booted[0].say("UDP", "bench-flood", 1_000_000, d) })
	all.Go(func() error { return s.booted[1].say("UDP", "bench-quiet", lines, d) })
	if err := all.Wait(); err != nil {
		return err
	}
	kept, err := s.kept(client, "bench-quiet")
	if err != nil {
		return err
	}
	s.print(line{figure: "beside a node that says all it can by UDP, kept of another one", got: float64(kept) / float64(lines*int(d/time.Second)) * 100, unit: "%"})
	return nil
}

// kept is how many lines of a stream there are.
func (s *segment) kept(c *ssh.Client, stream string) (n int, err error) {
	session, err := c.NewSession()
	if err != nil {
		return 0, err
	}
	defer session.Close()
	out, err := session.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := session.Start("log show --nodes all-nodes --history full --streams " + stream); err != nil {
		return 0, err
	}
	b := make([]byte, 64<<10)
	for {
		got, err := out.Read(b)
		n += strings.Count(string(b[:got]), "\n")
		if err == io.EOF {
			return n, session.Wait()
		}
		if err != nil {
			return n, err
		}
	}
}

// say has a device say so many lines a second, fewer when it cannot.
func (d *device) say(network, stream string, lines int, how time.Duration) error {
	write, end, err := d.syslog(network)
	if err != nil {
		return err
	}
	defer end()
	text := []byte("<13>Nov 27 19:00:00 pc " + stream + "[12]: temperature 21.5 humidity 40 and a little more\n")
	begun, said := time.Now(), 0
	for total := lines * int(how/time.Second); said < total; {
		since := time.Since(begun)
		if since > how+time.Second {
			return nil
		}
		for due := min(total, int(float64(lines)*since.Seconds())); said < due; said++ {
			if err := write(text); err != nil {
				return err
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// syslog opens a way to the server's syslog.
func (d *device) syslog(network string) (write func([]byte) error, end func() error, err error) {
	to := netip.AddrPortFrom(serverAddr, syslogPort)
	if network == "UDP" {
		conn, err := d.wire.listen(netip.AddrPortFrom(d.ip, 0))
		if err != nil {
			return nil, nil, err
		}
		return func(b []byte) error {
			_, err := conn.WriteToUDPAddrPort(b, to)
			return err
		}, conn.Close, nil
	}
	conn, err := d.wire.dialTCP(d.ip, to.String())
	if err != nil {
		return nil, nil, err
	}
	return func(b []byte) error {
		_, err := conn.Write(b)
		return err
	}, conn.Close, nil
}
