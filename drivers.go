package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"walt/config"
	"walt/fault"
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

// checkLimit is for how long outlets are asked for their states: longer than slow devices take.
const checkLimit = time.Minute

// checkPower asks the drivers of a configuration for the states of outlets, which are
// written with + between, all devices at the same time. It tells all of them, in this order; the
// fault is about those that are not known.
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
	found := map[driver.Outlet]driver.Reading{}
	asked := map[driver.Outlet]string{}
	for _, o := range all {
		if err := drivers.Check(driver.Supply{o}); err != nil {
			found[o] = driver.Unanswered(err)
		} else {
			asked[o] = ""
		}
	}
	maps.Copy(found, drivers.Look(ctx, asked, checkLimit))
	var unknown, hints []string
	for _, o := range all {
		is := found[o]
		words := fmt.Sprintf("%s is %s", o, is.State)
		switch {
		case is.Why != "":
			words += ": " + is.Why
			unknown = append(unknown, o.String())
		case is.State == driver.Unknown:
			words += ": its device does not tell"
		}
		told = append(told, words)
		if is.Hint != "" && !slices.Contains(hints, is.Hint) {
			hints = append(hints, is.Hint)
		}
	}
	var failed error
	if len(unknown) > 0 {
		failed = fault.Failedf("the state of %s is not known", fault.Few(unknown)).WithHint("%s", strings.Join(hints, "\n"))
	}
	return told, errors.Join(failed, drivers.Set(nil, nil))
}
