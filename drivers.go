package main

import (
	"walt/config"
	"walt/power/driver"
	"walt/power/driver/program"
)

// driversOf makes the drivers that a configuration declares.
func driversOf(c config.Power) (all []driver.Driver) {
	for _, d := range c.Drivers {
		one := driver.Driver{Name: d.Name, Timeout: d.Timeout.Duration}
		switch d.Kind { // config.Load knows no other ones
		case "command":
			one.Means = program.New(d.Program)
		}
		all = append(all, one)
	}
	return all
}
