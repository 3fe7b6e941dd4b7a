package commands

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"walt/api"
	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

func userCommands() []Command {
	nameArg := Arg{Name: "NAME", Complete: completeUser}
	return []Command{{
		Path: "user show", Also: []string{"user list", "user ls"}, Short: "show users and their keys", Topic: "admin",
		Args: []Arg{{Name: "NAME", Optional: true, Complete: completeUser}}, Flags: []Flag{jsonFlag},
		Run: userShow,
	}, {
		Path: "user add", Short: "add a user; reads public keys from standard input", Topic: "admin",
		Long: `Reads lines in the format of authorized_keys from standard input:
  ssh walt@SERVER user add bob < bob.pub
The options from=, expiry-time= and command= of such lines are honoured, and so
are those that only take away (restrict, no-pty, ...); a line with any other
option is refused. Nodes of the user let the keys in as well, but for those with
command=; from= is heeded by this server, which is the way to nodes.`,
		Args: []Arg{{Name: "NAME"}}, Flags: []Flag{{Name: "admin", Usage: "make an administrator, who manages users"}},
		Run: userAdd,
	}, {
		Path: "user promote", Short: "make a user an administrator, who manages users", Topic: "admin",
		Args: []Arg{nameArg},
		Run: func(ctx context.Context, c *Call) error {
			return c.changeAdmin("an administrator now", func(name auth.Name) error { return c.Users.Promote(ctx, c.User, name) })
		},
	}, {
		Path: "user demote", Short: "make an administrator an ordinary user again", Topic: "admin",
		Long: `What is begun already goes on. To demote yourself is asked first, since only
another administrator can undo it; the last administrator stays one. Whom the
server is started for with --admin is one again at its next start.`,
		Args: []Arg{nameArg}, Flags: []Flag{yesFlag, noInputFlag},
		Run: userDemote,
	}, {
		Path: "user add-key", Short: "add keys; reads them from standard input", Topic: "admin",
		Long: `Reads lines in the format of authorized_keys from standard input, for yourself
unless an administrator names somebody else:
  ssh walt@SERVER user add-key < new.pub`,
		Args: []Arg{{Name: "NAME", Optional: true, Complete: completeUser}},
		Run:  userAddKey,
	}, {
		Path: "user remove-key", Short: "remove a key by its fingerprint", Topic: "admin",
		Args: []Arg{{Name: "FINGERPRINT", Complete: completeKey}},
		Run:  userRemoveKey,
	}, {
		Path: "user remove", Also: []string{"user rm", "user delete"}, Short: "remove a user", Topic: "admin",
		Long: `A user who still has nodes or images is removed only with --force (the nodes
are released, the images deleted) or --heir (the images, and so the nodes, pass
to that user). Machines that boot with the kernel of such an image under its
name ("help show booting") cannot boot again: that is asked first.`,
		Args: []Arg{nameArg},
		Flags: []Flag{
			{Name: "force", Short: "f", Usage: "release the nodes and delete the images"},
			{Name: "heir", Value: "USER", Usage: "who gets the images and nodes", Complete: completeUser},
			yesFlag, noInputFlag,
		},
		Run: userRemove,
	}, {
		Path: "whoami", Short: "show who you are to the server", Flags: []Flag{jsonFlag},
		Run: func(_ context.Context, c *Call) error {
			if c.on("json") {
				return c.print(api.WhoAmI{Admin: c.Admin, Key: c.Key, User: c.User})
			}
			role := ""
			if c.Admin {
				role = ", an administrator"
			}
			c.say("%s%s, with the key %s", c.User, role, c.Key)
			return nil
		},
	}}
}

func userShow(ctx context.Context, c *Call) error {
	all, err := c.accounts(ctx)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.NewUsers(all, c.Now()))
	}
	var cells [][]string
	for _, a := range all {
		role := ""
		if a.Admin {
			role = "admin"
		}
		name := string(a.Name)
		for _, k := range a.Keys {
			options := k.Options
			if k.Expired(c.Now()) {
				options += " (expired)"
			}
			cells = append(cells, []string{name, role, k.Fingerprint, k.Comment, options})
			name, role = "", ""
		}
		if len(a.Keys) == 0 {
			cells = append(cells, []string{name, role, "no key"})
		}
	}
	c.rows([]string{"NAME", "ROLE", "KEY", "COMMENT", "OPTIONS"}, cells)
	return nil
}

// accounts returns the user that is the optional first argument, or all.
func (c *Call) accounts(ctx context.Context) ([]auth.Account, error) {
	if c.arg(0) == "" {
		return c.Users.List(ctx)
	}
	name, err := auth.ParseName(c.arg(0))
	if err != nil {
		return nil, err
	}
	a, err := c.Users.Get(ctx, name)
	return []auth.Account{a}, err
}

// mayManageKeys is a fault for a session whose key has options.
func (c *Call) mayManageKeys() error {
	if c.Restricted {
		return fault.Failedf("a key with options cannot manage keys and users").WithHint("use a key of yours without options (see: help show ci)")
	}
	return nil
}

// readKeys reads lines of authorized_keys from the session's input.
func (c *Call) readKeys() (string, error) {
	if c.Terminal != nil {
		c.note("Paste the public key, press Enter, and then Ctrl-D; Ctrl-C gives up.")
	}
	b, err := io.ReadAll(io.LimitReader(c.In, auth.MaxInput+1))
	if err != nil {
		return "", err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		line := strings.Join(append([]string{c.cmd.Path}, c.args...), " ")
		if c.on("admin") {
			line += " --admin"
		}
		return "", fault.Usagef("there is no public key in the input").WithHint("pass it on standard input: ssh walt@SERVER %s < KEY.pub", line)
	}
	if len(b) > auth.MaxInput {
		return "", fault.Usagef("more than %d KiB of keys", auth.MaxInput>>10).WithHint("send only the .pub file of the user")
	}
	return string(b), nil
}

// showAdded tells of each new key whether it lets its user in.
func (c *Call) showAdded(name auth.Name, keys []auth.Key) {
	for _, k := range keys {
		why := k.Permit(c.Client, c.Now())
		if k.Expired(c.Now()) {
			c.say("%s cannot log in with %s %s: %v", name, k.Fingerprint, clean(k.Comment), why)
			continue
		}
		c.say("%s can log in with %s %s", name, k.Fingerprint, clean(k.Comment))
		if why != nil {
			c.note("But not from where you are: %v, by its option from.", why)
		}
		if how := k.OnNodes(c.Now()); how != "" {
			c.note("On nodes: %s (see: help show reaching-nodes).", how)
		}
	}
}

// changeAdmin changes what the user may who is the first argument, and says so.
func (c *Call) changeAdmin(now string, change func(auth.Name) error) error {
	name, err := auth.ParseName(c.arg(0))
	if err == nil {
		err = c.mayManageKeys()
	}
	if err == nil {
		err = change(name)
	}
	if err == nil {
		c.say("%s is %s", name, now)
	}
	return err
}

func userDemote(ctx context.Context, c *Call) error {
	return c.changeAdmin("no longer an administrator", func(name auth.Name) error {
		err := c.Users.Demote(ctx, c.User, name, c.on("yes"))
		if errors.Is(err, auth.ErrOneself) {
			c.note("Only another administrator can make you one again.")
			if err = c.ask(ctx, "Demote yourself all the same?"); err == nil {
				err = c.Users.Demote(ctx, c.User, name, true)
			}
		}
		return err
	})
}

func userAdd(ctx context.Context, c *Call) error {
	name, err := auth.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	if err := c.mayManageKeys(); err != nil {
		return err
	}
	lines, err := c.readKeys()
	if err != nil {
		return err
	}
	keys, err := c.Users.Add(ctx, c.User, name, c.on("admin"), lines)
	if err != nil {
		return err
	}
	c.showAdded(name, keys)
	return nil
}

func userAddKey(ctx context.Context, c *Call) error {
	name := c.User
	if c.arg(0) != "" {
		var err error
		if name, err = auth.ParseName(c.arg(0)); err != nil {
			return err
		}
	}
	if err := c.mayManageKeys(); err != nil {
		return err
	}
	lines, err := c.readKeys()
	if err != nil {
		return err
	}
	keys, err := c.Users.AddKeys(ctx, c.User, name, lines)
	if err != nil {
		return err
	}
	c.showAdded(name, keys)
	return nil
}

func userRemoveKey(ctx context.Context, c *Call) error {
	if err := c.mayManageKeys(); err != nil {
		return err
	}
	k, err := c.Users.RemoveKey(ctx, c.User, c.arg(0))
	if err != nil {
		return err
	}
	c.say("%s of %s is removed", k.Fingerprint, k.User)
	c.Cut(k.User, k.Fingerprint)
	return nil
}

func userRemove(ctx context.Context, c *Call) error {
	name, err := auth.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	legacy := nodes.Legacy{Force: c.on("force")}
	if c.given("heir") {
		if legacy.Force {
			return c.withUsage(fault.Usagef("user remove: --force or --heir, not both"))
		}
		if legacy.Heir, err = auth.ParseName(c.option("heir")); err != nil {
			return err
		}
	}
	if err := c.mayManageKeys(); err != nil {
		return err
	}
	var left nodes.Estate
	err = c.withConsent(ctx, "Remove", func(given consent.Agreement) (err error) {
		legacy.Given = given
		left, err = c.Lab.RemoveUser(ctx, c.User, name, legacy)
		return err
	})
	if err != nil {
		return err
	}
	for _, n := range left.Released {
		c.say("%s is free", n)
	}
	for _, ref := range left.Deleted {
		c.say("%s is deleted", ref)
	}
	for _, p := range left.Passed {
		also := ""
		if p.From.Name != p.To.Name {
			also = ", since " + string(p.To.User) + " has a " + p.From.Short()
		}
		c.say("%s is now %s%s", p.From, p.To, also)
	}
	c.say("%s is removed", name)
	c.Cut(name, "")
	return nil
}
