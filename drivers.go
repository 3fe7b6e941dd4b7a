package main

import (
	"context"
	"fmt"
	"net"

	"walt/config"
	"walt/power/driver"
	"walt/power/driver/pdu"
	"walt/power/driver/program"
	"walt/power/driver/redfish"
	"walt/power/driver/web"
)

// hostsOf are those of the devices of drivers, as far as the configuration names them.
func hostsOf(c config.Power) (all []string) {
	for _, d := range c.Drivers {
		all = append(all, d.HTTP.Hosts()...)
		host, _, err := net.SplitHostPort(d.Host)
		if err != nil { // it has no port
			host = d.Host
		}
		if host != "" {
			all = append(all, host)
		}
	}
	for _, o := range c.Own {
		if o.Host != "" {
			all = append(all, o.Host)
		}
	}
	return all
}

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
		case "ipmi":
			one.Hosted, one.Ported, one.Means = true, driver.May, d.IPMI
		case "redfish":
			one.Hosted, one.Ported, one.Means = true, driver.May, redfish.New(d.Redfish)
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

// checkPower asks the drivers of a configuration for the states of outlets, which are
// written with + between, and tells them.
func checkPower(ctx context.Context, c config.Power, outlets string) (told []string, err error) {
	if outlets == "" {
		return nil, nil
	}
	all, err := driver.ParseSupply(outlets)
	if err != nil {
		return nil, err
	}
	made, err := driversOf(c)
	if err != nil {
		return nil, err
	}
	drivers := driver.New()
	if err := drivers.Set(made, nil); err != nil {
		return nil, err
	}
	var errs []error
	for _, o := range all {
		one := driver.Supply{o}
		if err := drivers.Check(one); err != nil {
			errs = append(errs, err)
			continue
		}
		state, err := drivers.Status(ctx, driver.Feed{Supply: one})
		told, errs = append(told, fmt.Sprintf("%s is %s", o, state)), append(errs, err)
	}
	return told, together(append(errs, drivers.Set(nil, nil)))
}
