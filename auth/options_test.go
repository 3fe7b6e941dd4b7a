package auth

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, command string }{
		{``, ``},
		{`command="node show"`, `node show`},
		{`COMMAND="node show"`, `node show`},
		{`command="echo \"a, b\" = c"`, `echo "a, b" = c`},
		{`command="a\b\\c\n"`, `a\b\\c\n`},
		{`command="a\\"b"`, `a\"b`}, // as in OpenSSH: a backslash does not quote itself
		{`from="10.0.0.0/8",command="whoami",expiry-time="20300101"`, `whoami`},
		{`expiry-time="20300101",expiry-time="20310101"`, ``},
	} {
		o, err := parseOptions(test.text, time.UTC)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
		} else if o.command != test.command {
			t.Errorf("%s: command %q, want %q", test.text, o.command, test.command)
		}
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, says string }{
		{`port-forwarding,command="whoami"`, `one command forwards nothing`},
		{`command="whoami",restrict,port-forwarding`, `one command forwards nothing`},
		{`port-forwarding="yes"`, `it is written port-forwarding, `},
		{`restrict,agent-forwarding`, `"agent-forwarding"`},
		{`no-touch-required`, `"no-touch-required"`},
		{`no-`, `"no-"`},
		{`restrict="yes"`, `it is written restrict, `},
		{`no-pty,`, `malformed option no-pty`},
		{`restrict no-pty`, `unknown option`},
		{`cert-authority`, `"cert-authority"`},
		{`environment="A=b"`, `"environment"`},
		{`permitopen="h:1"`, `"permitopen"`},
		{`,from="10.0.0.1"`, `unknown option`},
		{`from="10.0.0.1",,command="a"`, `unknown option`},
		{`from`, `from="VALUE"`},
		{`from,command="a"`, `from="VALUE"`},
		{`from=10.0.0.1`, `from="VALUE"`},
		{`command="a`, `command="VALUE"`},
		{`command="a\"`, `command="VALUE"`},
		{`command="a"b`, `command="VALUE"`},
		{`command="a",`, `command="VALUE"`},
		{`command="a",command="b"`, `twice`},
		{`from="10.0.0.1",from="10.0.0.2"`, `twice`},
		{`command=""`, `empty`},
		{`command="  "`, `empty`},
		{`from=""`, `not an address`},
		{`from="10.0.0.1,"`, `not an address`},
		{`from="!"`, `not an address`},
		{`from="ci.example.com"`, `"ci.example.com" is not an address`},
		{`from="*.example.com"`, `names are not looked up`},
		{`from="*.de"`, `not an address`},
		{`from="localhost"`, `not an address`},
		{`from="10.0.0.1, 10.0.0.2"`, `not an address`},
		{`from="10.0.0.256"`, `not an address`},
		{`from="10.0.0"`, `not an address`},
		{`from="fe80::1%eth0"`, `not an address`},
		{`from="10.0.0.0/33"`, `not an address`},
		{`from="10.0.0.[12]"`, `not an address`},
		{`from="10.1.2.3/8"`, `did you mean 10.0.0.0/8?`},
		{`expiry-time="tomorrow"`, `not a time`},
		{`expiry-time=""`, `not a time`},
		{`expiry-time="2030"`, `not a time`},
		{`expiry-time="20301301"`, `not a time`},
		{`expiry-time="20300230"`, `not a time`},
		{`expiry-time="203001012500"`, `not a time`},
		{`expiry-time="20300101T0000"`, `not a time`},
		{`expiry-time="2030010100000"`, `not a time`},
		{`expiry-time="19600101"`, `not a time`},
		{`expiry-time="20300101+0200"`, `not a time`},
	} {
		o, err := parseOptions(test.text, time.UTC)
		if err == nil {
			t.Errorf("%s: accepted as %+v", test.text, o)
			continue
		}
		refused(t, err, test.says)
		if err.Hint == "" {
			t.Errorf("%s: no hint", test.text)
		}
	}
}

// Options that only take away are known, and hold; as in OpenSSH, the last one
// about terminals counts.
func TestOptionsThatTakeAway(t *testing.T) {
	t.Parallel()
	for text, noPTY := range map[string]bool{
		``: false, `no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc`: false,
		`no-pty`: true, `restrict`: true, `No-PTY,from="10.0.0.1"`: true, `from="10.0.0.1",RESTRICT,command="a"`: true,
		`pty`: false, `restrict,pty`: false, `pty,restrict`: true, `no-pty,pty,no-user-rc`: false,
	} {
		if o, err := parseOptions(text, time.UTC); err != nil || o.noPTY != noPTY {
			t.Errorf("%s: no terminal: %v, %v", text, o.noPTY, err)
		}
	}
	l := newTeam(t)
	_, err := l.AddKeys(t.Context(), "alice", "bob", "restrict "+line("ci"))
	ok(t, err)
	if who, err := l.Login(t.Context(), public("ci"), "walt", home); err != nil || !who.NoTerminal || !who.Restricted {
		t.Errorf("logs in as %+v, %v", who, err)
	}
}

// A key forwards nothing when it runs one command, or once an option took that; the last one
// about it counts.
func TestNoForwarding(t *testing.T) {
	t.Parallel()
	for text, none := range map[string]bool{
		``: false, `no-pty,no-agent-forwarding,no-X11-forwarding,no-user-rc`: false, `from="10.0.0.1",pty`: false, `expiry-time="20300101"`: false,
		`no-port-forwarding`: true, `restrict`: true, `RESTRICT,pty`: true, `No-Port-Forwarding,no-pty`: true, `command="whoami"`: true,
		`port-forwarding`: false, `restrict,port-forwarding`: false, `no-port-forwarding,Port-Forwarding`: false,
		`port-forwarding,restrict`: true, `port-forwarding,no-port-forwarding`: true, `port-forwarding,restrict,command="whoami"`: true,
	} {
		if o, err := parseOptions(text, time.UTC); err != nil || o.forwardsNothing() != none {
			t.Errorf("%s: no forwards: %v, %v", text, o.forwardsNothing(), err)
		}
	}
	l := newTeam(t)
	_, err := l.AddKeys(t.Context(), "alice", "bob", "no-port-forwarding "+line("ci")+"\n"+line("laptop"))
	ok(t, err)
	for key, none := range map[string]bool{"ci": true, "laptop": false} {
		if who, err := l.Login(t.Context(), public(key), "walt", home); err != nil || who.NoForwarding != none {
			t.Errorf("%s logs in as %+v, %v", key, who, err)
		}
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ from, admits, refuses string }{
		{"10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1", "10.0.0.2 ::1 10.0.0.10"},
		{"10.0.0.0/8", "10.0.0.1 10.255.255.255 ::ffff:10.1.1.1", "11.0.0.1 ::1"},
		{"0.0.0.0/0", "10.0.0.1", "::1"},
		{"::/0", "::1 2001:db8::1", "10.0.0.1"},
		{"10.0.0.1,192.168.0.0/16", "10.0.0.1 192.168.7.7", "10.0.0.2"},
		{"10.0.*", "10.0.0.1 10.0.255.255", "10.1.0.1 110.0.0.1"},
		{"10.0.0.?", "10.0.0.1", "10.0.0.10 10.0.0."},
		{"*", "10.0.0.1 ::1", ""},
		{"*.*", "10.0.0.1", "::1"},
		{"!10.0.0.1,10.0.0.0/8", "10.0.0.2", "10.0.0.1 11.0.0.1"},
		{"10.0.0.0/8,!10.0.0.1", "10.0.0.2", "10.0.0.1"},
		{"*,!10.0.*", "10.1.0.1 ::1", "10.0.0.1"},
		{"!10.0.0.1", "", "10.0.0.1 10.0.0.2"}, // no positive match
		{"2001:db8::/32", "2001:db8::1 2001:DB8:ffff::1", "2001:db9::1 10.0.0.1"},
		{"2001:0DB8:0::1", "2001:db8::1", "2001:db8::2"},
		{"2001:DB8:*", "2001:db8::1", "2001:db9::1"},
		{"fe80::/10", "fe80::1%eth0 fe80::1", "fec0::1"},
		{"::ffff:10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1", "10.0.0.2"},
		{"::ffff:10.0.0.0/104", "10.1.1.1", "11.0.0.1"},
	} {
		o, bad := parseOptions(`from="`+test.from+`"`, time.UTC)
		if bad != nil {
			t.Errorf("%s: %v", test.from, bad)
			continue
		}
		for want, addrs := range map[bool]string{true: test.admits, false: test.refuses} {
			for text := range strings.FieldsSeq(addrs) {
				addr, err := netip.ParseAddr(text)
				if err != nil {
					continue // refuses nothing that is no address
				}
				if got := o.permit(addr, noon) == nil; got != want {
					t.Errorf("from %s: admits %s is %v", test.from, addr, got)
				}
			}
		}
		if o.permit(netip.Addr{}, noon) == nil {
			t.Errorf("from %s: admits an unknown address", test.from)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	// It is noon in the lab, 10:00 UTC.
	for _, test := range []struct {
		text    string
		expired bool
	}{
		{`expiry-time="20260313"`, true},
		{`expiry-time="20260314"`, true}, // its midnight
		{`expiry-time="20260315"`, false},
		{`expiry-time="202603141159"`, true},
		{`expiry-time="202603141200"`, false}, // not after it yet
		{`expiry-time="20260314115959"`, true},
		{`expiry-time="20260314120001"`, false},
		{`expiry-time="20260314Z"`, true},
		{`expiry-time="202603140959Z"`, true},
		{`expiry-time="202603141000Z"`, false},
		{`expiry-time="20260314095959z"`, true},
		{`expiry-time="20260314100001utc"`, false},
		{`expiry-time="20300101",expiry-time="20260313"`, true}, // the earliest counts
		{`expiry-time="20260313",expiry-time="20300101"`, true},
	} {
		o, bad := parseOptions(test.text, noon.Location())
		if bad != nil {
			t.Errorf("%s: %v", test.text, bad)
		} else if got := o.permit(home, noon) != nil; got != test.expired {
			t.Errorf("%s: expired is %v", test.text, got)
		}
	}
}
