package main

import (
	"context"

	"walt/config"
	"walt/images"
	"walt/netboot"
	"walt/nodes"
	"walt/sshd"
)

// apply sets everything that can change while the server runs, at the start and
// at each SIGHUP: it is set here and nowhere else.
func (s *server) apply(c config.Config) error {
	var rs []images.Registry
	services := []string{c.Docker.Host}
	for _, r := range c.Registries {
		services = append(services, r.URL)
		rs = append(rs, images.Registry{Label: r.Label, URL: r.URL, Username: r.Username, Password: r.Password, CA: r.CA, Accounts: r.Accounts, SearchURL: r.SearchURL})
	}
	if err := s.library.SetRegistries(rs); err != nil {
		return err
	}
	if err := s.library.SetDocker(c.Docker.Host); err != nil {
		return err
	}
	s.consoles.SetServices(services)
	models, boots := map[images.Model]string{}, map[images.Model]netboot.ModelBoot{}
	for _, m := range c.Models {
		boots[images.Model(m.Name)] = netboot.ModelBoot{Args: m.Args, Console: m.Console}
		if m.Platform != "" {
			models[images.Model(m.Name)] = m.Platform
		}
	}
	s.library.SetModels(models)
	s.netboot.SetModels(boots)
	drivers, err := driversOf(c.Power)
	if err == nil {
		err = s.ports.SetDrivers(drivers, c.Power.Own)
	}
	if err != nil {
		return err
	}
	s.guard.set(c.Power)
	s.ports.SetIdle(c.Power.Idle.Duration)
	holds := nodes.Holds{Default: c.Hold.Default.Duration}
	for _, before := range c.Hold.Warn {
		holds.Warn = append(holds.Warn, before.Duration)
	}
	s.lab.SetHolds(holds)
	s.nodeLogs.SetLimits(lineLimits(c.Log))
	s.lab.SetPatience(c.Queue.Patience.Duration)
	s.lab.SetExposable(nodes.PortRange{First: int(c.Expose.First), Last: int(c.Expose.Last)})
	s.netboot.SetKernel(c.Boot.Kernel)
	s.boards.SetFirmware(c.Boot.Firmware)
	s.netboot.SetLoader(nodes.Loader(c.Virtual.Boot))
	s.lab.SetLimits(limitsOf(c.Virtual))
	if err := s.network.setNAT(c.Virtual.NAT); err != nil {
		return err
	}
	s.users.SetCA(c.SSH.UserCA)
	s.ssh.SetLimits(sshd.Limits{
		MaxConnections: c.SSH.MaxConnections,
		LoginGrace:     c.SSH.LoginGrace.Duration,
		IdleTimeout:    c.SSH.IdleTimeout.Duration,
	})
	return nil
}

// reloadAtHangup reads and applies the configuration at each SIGHUP until ctx
// ends.
func (s *server) reloadAtHangup(ctx context.Context) error {
	if s.reload == nil {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.hangup:
		}
		notifyReloading()
		c, err := s.reload()
		if err == nil {
			err = s.apply(c)
		}
		if err == nil {
			err = s.catalog.RetryDownloads(ctx)
		}
		if err != nil {
			s.log.Error("the configuration stays as it was", "err", err)
			wrong := err.Error()
			s.unread.Store(&wrong)
			s.tellReady(err)
			continue
		}
		s.unread.Store(nil)
		s.tellReady(nil)
		s.warnUnadministered(ctx)
		s.warnUnswitchable(ctx)
		told := s.noteVirtual(c.Virtual)
		if c.Network != s.segment {
			told = append(told, "network", "changes at the next start")
		}
		s.log.Info("configuration read; the data directory, the address and the host keys change at the next start", told...)
	}
}
