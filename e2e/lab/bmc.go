package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// BMC is OpenIPMI's simulator of one, on an address that it keeps when it is stopped and
// started again. It lets in the user walt with the password secret-one, by cipher suite 3 (it
// does not know 17).
type BMC struct {
	Host, Port string
	program    string
	dir        string
	process    *exec.Cmd
}

// NewBMC prepares one whose files are in dir, an existing folder with a short name.
func NewBMC(dir string) (*BMC, error) {
	program, err := exec.LookPath("ipmi_sim")
	if err != nil {
		return nil, fmt.Errorf("install the Debian package openipmi: %w", err)
	}
	address, err := ownAddress()
	if err != nil {
		return nil, err
	}
	b := &BMC{program: program, dir: dir}
	if b.Host, b.Port, err = net.SplitHostPort(address); err != nil {
		return nil, err
	}
	// Without a GUID the simulator falls over when a session begins.
	config := fmt.Sprintf(`name "bmc"
set_working_mc 0x20
startlan 1
  addr %s %s
  priv_limit operator
  allowed_auths_user md5
  allowed_auths_operator md5
  allowed_auths_admin md5
  guid 0123456789abcdef0123456789abcdef
endlan
chassis_control "%s/chassis"
user 2 true "walt" "secret-one" operator 10 md5
`, b.Host, b.Port, dir)
	const commands = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n"
	return b, errors.Join(
		os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "commands"), []byte(commands), 0o600),
		b.Worked(`"get power") if [ -e off ]; then echo power:0; else echo power:1; fi ;;
"set power") if [ "$3" = 0 ]; then : >off; else rm -f off; fi ;;`),
	)
}

// Worked has it do other things with the power: the branches of a shell's case of what the
// simulator asks for, in the folder of the BMC. Those that it has keep a file there, see Off.
func (b *BMC) Worked(branches string) error {
	script := fmt.Sprintf("#!/bin/sh\ncd %s || exit\ncase \"$1 $2\" in\n%s\nesac\n", b.dir, branches)
	return os.WriteFile(filepath.Join(b.dir, "chassis"), []byte(script), 0o700)
}

// Start starts it: some 0.1 s later it answers.
func (b *BMC) Start() error {
	if b.process != nil {
		return errors.New("the BMC runs already")
	}
	b.process = exec.Command(b.program, "-c", filepath.Join(b.dir, "conf"), "-f", filepath.Join(b.dir, "commands"), "-s", b.dir, "-n")
	return b.process.Start()
}

// Stop ends it. Its server keeps the power that it has.
func (b *BMC) Stop() error {
	if b.process == nil {
		return nil
	}
	err := b.process.Process.Kill()
	_ = b.process.Wait()
	b.process = nil
	return err
}

// Off reports whether its server has no power.
func (b *BMC) Off() bool {
	_, err := os.Stat(filepath.Join(b.dir, "off"))
	return err == nil
}
