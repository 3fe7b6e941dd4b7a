//go:build linux

package main

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// hangs is how long after it began a shutdown is taken for one that hangs.
const hangs = 20 * time.Second

// orders follows what the server orders.
type orders struct {
	log   *record
	clock clock
	begun func(what string) // tells the server that what it ordered has begun
	admit func(instructions.Access)
	mu    sync.Mutex
	ends  bool // a shutdown has begun
}

func (o *orders) follow(order instructions.Order) {
	if order.Clock != nil && order.After > 0 {
		// It was said somewhere between the report and now.
		took := time.Duration((uptime() - order.After) * float64(time.Second))
		o.clock.told(order.Clock.Add(took/2), took)
	}
	if order.Access != nil {
		o.admit(*order.Access)
	}
	if order.Blink > 0 {
		go blink(time.Duration(order.Blink)*time.Second, o.log) // ends after that time
	}
	switch order.Power {
	case instructions.Reboot, instructions.Poweroff:
		o.power(order.Power)
	case "":
	default:
		o.log.logf("an order that is none: %q", order.Power)
	}
}

// power asks the init to reboot or power off, and sees that it happens.
func (o *orders) power(what string) {
	o.log.logf("the server orders: %s", what)
	o.begun(what)
	if !o.resetIfItHangs(what) {
		return
	}
	init := initName()
	switch {
	case os.Getpid() == 1:
		reset(what) // there is no root yet
	case strings.HasPrefix(init, "systemd"):
		// As systemd(1) says: SIGRTMIN+4 powers off, SIGRTMIN+5 reboots.
		unix.Kill(1, map[string]unix.Signal{instructions.Poweroff: 34 + 4, instructions.Reboot: 34 + 5}[what])
	case init == stayName || init == "init" && isBusybox():
		unix.Kill(1, map[string]unix.Signal{instructions.Poweroff: unix.SIGUSR2, instructions.Reboot: unix.SIGTERM}[what])
	default:
		c := exec.Command(what)
		c.Env, c.Dir = environment(), "/"
		if err := c.Start(); err != nil {
			o.log.logf("the image has no %s: %v", what, err)
			reset(what)
		}
		go c.Wait() // the program ends before the machine does
	}
}

// initName is the name of process 1.
func initName() string {
	b, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func isBusybox() bool {
	program, err := os.Readlink("/proc/1/exe")
	return err == nil && strings.Contains(program, "busybox")
}

// resetIfItHangs resets the machine when it still runs after some time. It returns
// false when that was agreed before.
func (o *orders) resetIfItHangs(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ends {
		return false
	}
	o.ends = true
	time.AfterFunc(hangs, func() {
		o.log.logf("the shutdown hangs")
		// As an error, which the kernel also shows on the console when it is quiet.
		os.WriteFile("/dev/kmsg", []byte("<3>walt: the shutdown hangs"), 0)
		reset(what)
	})
	return true
}

// reset reboots or powers off at once.
func reset(what string) {
	how := unix.LINUX_REBOOT_CMD_RESTART
	if what == instructions.Poweroff {
		how = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	unix.Reboot(how)
}
