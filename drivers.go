package main

import (
	"walt/config"
	"walt/power/driver"
	"walt/power/driver/pdu"
	"walt/power/driver/program"
	"walt/power/driver/web"
)

// driversOf makes the drivers that a configuration declares.
func driversOf(c config.Power) (all []driver.Driver, err error) {
	for _, d := range c.Drivers {
		one := driver.Driver{Name: d.Name, Timeout: d.Timeout.Duration}
		switch d.Kind { // config.Load knows no other ones
		case "command":
			one.Means = program.New(d.Program)
		case "http":
			one.Hosted, one.Ported = d.HTTP.Hosted(), d.HTTP.Ported()
			one.Means, err = web.New(d.HTTP)
		case "snmp":
			one.Hosted = d.Host == ""
			one.Means, err = pdu.New(d.SNMP, d.PDU)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
