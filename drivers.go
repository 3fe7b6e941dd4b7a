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
	"walt/power"
	"walt/power/driver"
	"walt/power/driver/pdu"
	"walt/power/driver/program"
	"walt/power/driver/redfish"
	"walt/power/driver/web"
	"walt/state"
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
		one := d.Declared()
		switch d.Kind { // config.Load knows no other ones
		case "command":
			one.Means = program.New(d.Program)
		case "http":
			one.Means, err = web.New(d.HTTP)
		case "ipmi":
			one.Means = d.IPMI
		case "redfish":
			one.Means = redfish.New(d.Redfish)
		case "snmp":
			one.Means, err = pdu.New(d.SNMP, d.PDU)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// unswitchable tells of outlets that feed nodes, by the rows of a store, and are of no driver.
func unswitchable(c config.Power, rows []state.Row) (notes []string) {
	drivers, lost := c.Declared(c.Own), map[string][]string{}
	for _, o := range power.FeedingOutlets(rows) {
		if err := drivers.Check(driver.Supply{o}); err != nil {
			lost[fault.Reason(err)] = append(lost[fault.Reason(err)], o.String())
		}
	}
	for _, why := range slices.Sorted(maps.Keys(lost)) {
		notes = append(notes, fmt.Sprintf("but the power of nodes at %s will be unknown: %s", fault.Few(lost[why]), why))
	}
	return notes
}

// checkLimit is for how long outlets are asked for their states: longer than slow devices take.
const checkLimit = time.Minute

// outletsFlag is the option --power: which outlets are to be asked, with + between.
type outletsFlag string

// everyOutlet is --power alone: those that feed nodes, or the server.
const everyOutlet outletsFlag = "true"

func (f *outletsFlag) String() string { return string(*f) }

// Set adds outlets to those of the same option before.
func (f *outletsFlag) Set(s string) error {
	if *f != "" && *f != everyOutlet && s != string(everyOutlet) {
		s = string(*f) + "+" + s
	}
	*f = outletsFlag(s)
	return nil
}

// IsBoolFlag tells package flag that the option may stand alone.
func (f *outletsFlag) IsBoolFlag() bool { return true }

// outletsOf returns the outlets that are to be asked, and a line for each driver of which there
// are none among them. The rows are those of the store, of which there are none while a server
// has it.
func outletsOf(c config.Power, f outletsFlag, rows []state.Row, running bool) (all driver.Supply, notes []string, err error) {
	if f != everyOutlet {
		all, err = driver.ParseSupply(string(f))
		return all, nil, err
	}
	if running {
		return nil, nil, fault.Failedf("which outlets feed nodes is known to the server that runs").
			WithHint("it asks them by: ssh walt@SERVER power show\nor name some, as in --power=rack1:7+rack1:8")
	}
	all = slices.Concat(c.Own, power.FeedingOutlets(rows))
	for _, d := range c.Drivers {
		if !slices.ContainsFunc(all, func(o driver.Outlet) bool { return o.Driver == d.Name }) {
			notes = append(notes, fmt.Sprintf("%s was not asked: it feeds no node yet (name an outlet of it by --power=OUTLET)", d.Name))
		}
	}
	return all, notes, nil
}

// checkPower asks the drivers of a configuration for the states of outlets, all devices at the
// same time. It tells all of them, in order; the fault is about those that are not known.
func checkPower(ctx context.Context, c config.Power, f outletsFlag, rows []state.Row, running bool) (told []string, err error) {
	if f == "" {
		return nil, nil
	}
	all, notes, err := outletsOf(c, f, rows, running)
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
	all = drivers.Canonical(all)
	hosts := hostsOf(c)
	for _, o := range all {
		if o.Host != "" {
			hosts = append(hosts, o.Host)
		}
	}
	_, unnamed := lookUp(ctx, net.DefaultResolver.LookupNetIP, hosts)
	if names := slices.Sorted(maps.Keys(unnamed)); len(names) > 0 {
		notes = append(notes, fmt.Sprintf("but machines are not kept from what is not known by its name: %s", fault.Few(names)))
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
	helps := map[string][]string{} // against what is not known of these outlets
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
		if is.Hint != "" {
			if helps[is.Hint] == nil {
				hints = append(hints, is.Hint)
			}
			helps[is.Hint] = append(helps[is.Hint], o.String())
		}
	}
	if len(unknown) > 1 {
		for i, hint := range hints {
			hints[i] = fault.Few(helps[hint]) + ": " + hint
		}
	}
	var failed error
	if len(unknown) > 0 {
		failed = fault.Failedf("the state of %s is not known", fault.Few(unknown)).WithHint("%s", strings.Join(hints, "\n"))
	}
	return append(told, notes...), errors.Join(failed, drivers.Set(nil, nil))
}
