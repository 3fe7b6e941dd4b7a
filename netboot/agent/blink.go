//go:build linux

package main

import (
	"os"
	"path/filepath"
	"time"
)

// leds are the files of the machine's LEDs.
func leds() []string {
	files, _ := filepath.Glob("/sys/class/leds/*/brightness") // the pattern is right
	return files
}

// blink switches the machine's LEDs on and off, twice a second, and leaves them as they
// were. A machine without LEDs says it on its console.
func blink(how time.Duration, log *record) {
	leds := leds()
	if len(leds) == 0 {
		log.logf("blink: this machine has no LED")
		return
	}
	before := map[string][]byte{}
	for _, led := range leds {
		before[led], _ = os.ReadFile(led) // one that cannot be read is left off
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for end, on := time.Now().Add(how), true; time.Now().Before(end); on = !on {
		value := "0"
		if on {
			value = "1"
		}
		for _, led := range leds {
			os.WriteFile(led, []byte(value), 0) // keyboards may be unplugged meanwhile
		}
		<-tick.C
	}
	for led, value := range before {
		os.WriteFile(led, value, 0)
	}
}
