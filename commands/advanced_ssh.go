package commands

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"walt/fault"
	"walt/nodes"
)

// serverAlias is under which name clients keep the host keys of this server: a name that no
// node can have, so that no certificate of a node is one for the server.
const serverAlias = "walt.server"

const knownHostsPath = "advanced known-hosts"

func sshCommands() []Command {
	return []Command{{
		Path: "advanced ssh-config", Short: "print what has your ssh know the lab and its nodes", Topic: "reaching-nodes",
		Long: `Prints lines for the file ~/.ssh/config: with them "ssh lab node show" and
"ssh rpi-3" work, also for nodes that come later, and scp, rsync and the like.
  ssh walt@SERVER advanced ssh-config >> ~/.ssh/config
  ssh walt@SERVER advanced known-hosts > ~/.ssh/known_hosts.lab
--alias is what you want to call the lab; the second file has that in its name.
Of several labs in one file, it is the first one's node that a name alone stands
for. The nodes of a SET get lines with which rpi-3.lab is the one of this lab.`,
		Args:  []Arg{{Name: "SET", Optional: true, Complete: completeSet}},
		Flags: []Flag{{Name: "alias", Value: "NAME", Usage: "what you call the lab: lab"}},
		Run:   sshConfig,
	}, {
		Path: knownHostsPath, Short: "print the host keys of the lab and its nodes", Topic: "reaching-nodes",
		Long: `Prints lines for a file like ~/.ssh/known_hosts, which "advanced ssh-config" has
your ssh look into for the lab, and for nothing else. The one with
@cert-authority stands for all nodes, also those to come, whatever they boot and
are called. Those behind it are the same keys without it, for images whose SSH
server has no certificates, as dropbear: print it again when such nodes have
come, or are called otherwise.`,
		Run: knownHosts,
	}}
}

var aliasForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func sshConfig(ctx context.Context, c *Call) error {
	alias := "lab"
	if c.given("alias") {
		alias = c.option("alias")
	}
	if !aliasForm.MatchString(alias) {
		return c.withUsage(fault.Usagef("advanced ssh-config: %q is no name for a host", alias).WithHint("use letters, digits, dots, - and _, as in --alias lab"))
	}
	host, login := c.Server.Addr().Unmap().WithZone(""), cmp.Or(c.Login, "walt")
	port, to := "", fmt.Sprintf("%s@%s", login, host)
	if p := c.Server.Port(); p != 22 {
		port, to = fmt.Sprintf("    Port %d\n", p), fmt.Sprintf("-p %d %s", p, to)
	}
	apart, err := c.apart(ctx, alias)
	if err != nil {
		return err
	}
	file := "~/.ssh/known_hosts." + alias
	_, err = fmt.Fprintf(c.Out, `
Host %[1]s
    HostName %[2]s
%[3]s    User %[4]s
    HostKeyAlias %[5]s
    UserKnownHostsFile %[6]s
%[7]s# Nodes: names without a dot that ~/.ssh/known_hosts does not have, and no lab. Another such host, once: ssh -F none HOST
# This stays at the end: lines of other hosts go above it.
Match !originalhost %[1]s host *,!*.*,!*:*,!localhost !exec "ssh-keygen -F '%%h' 2>/dev/null || test -e ~/.ssh/known_hosts.'%%h'"
    ProxyJump %[1]s
    User root
    UserKnownHostsFile %[6]s
`, alias, host, port, login, serverAlias, file, apart)
	c.note("The host keys, for once and all: ssh %s %s > %s", to, knownHostsPath, file)
	return err
}

// apart are lines that give the nodes of the set, if one is given, names that no other lab has:
// with the alias of this one behind a dot.
func (c *Call) apart(ctx context.Context, alias string) (string, error) {
	if c.arg(0) == "" {
		return "", nil
	}
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return "", err
	}
	found, err := c.Lab.Show(ctx, c.User, set)
	if err != nil {
		return "", err
	}
	lines := ""
	for d := range found.Found() {
		lines += fmt.Sprintf("Host %[1]s.%[2]s\n    HostName %[1]s\n", d.Name, alias)
	}
	return lines, nil
}

func knownHosts(ctx context.Context, c *Call) error {
	print := func(who string, key ssh.PublicKey) error {
		_, err := fmt.Fprintf(c.Out, "%s %s", who, ssh.MarshalAuthorizedKey(key))
		return err
	}
	for _, key := range c.HostKeys {
		if err := print(serverAlias, key); err != nil {
			return err
		}
	}
	if err := print("@cert-authority *", c.HostCA); err != nil {
		return err
	}
	all, err := c.Lab.HostKeys(ctx)
	for _, h := range all {
		if err := print(strings.ToLower(string(h.Node)), h.Key); err != nil {
			return err
		}
	}
	return err
}
