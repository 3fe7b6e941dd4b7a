package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// OutletKinds are the kinds of devices that power drivers are for.
var OutletKinds = []string{"command", "http", "ipmi", "redfish", "snmp"}

// Outlet is a device of a power driver, with one outlet. It lets in the user walt with the
// password in Secret, and has a program do what it is told, and tell how it is: one that is run
// as PROGRAM on|off|status, as the command driver runs its own.
type Outlet struct {
	Driver string // what the server's file says of its driver, whose name is the kind
	Supply string // what the setting power of its node is
	Secret string // the file that holds the password; "" where there is none

	program string
	dir     string
	start   func() error
	stop    func() error
}

// NewOutlet prepares one of a kind, whose files are in dir, an existing folder with a short
// name that nobody else may write. script is its program.
func NewOutlet(dir, kind, script string) (*Outlet, error) {
	o := &Outlet{Supply: kind + ":1", program: filepath.Join(dir, "outlet"), dir: dir}
	if err := os.WriteFile(o.program, []byte(script), 0o755); err != nil {
		return nil, err
	}
	made := map[string]func() ([]string, error){
		"command": o.command, "http": o.http, "ipmi": o.ipmi, "redfish": o.redfish, "snmp": o.snmp,
	}[kind]
	if made == nil {
		return nil, fmt.Errorf("no outlet is of the kind %q", kind)
	}
	settings, err := made()
	settings = append([]string{"[[power.driver]]", fmt.Sprintf("name = %q", kind), fmt.Sprintf("kind = %q", kind)}, settings...)
	o.Driver = strings.Join(settings, "\n") + "\n"
	return o, err
}

// Start starts the device.
func (o *Outlet) Start() error { return o.start() }

// Stop ends it. The power stays as it is.
func (o *Outlet) Stop() error { return o.stop() }

// Password is what the file in Secret says, "" where there is none.
func (o *Outlet) Password() (string, error) {
	if o.Secret == "" {
		return "", nil
	}
	text, err := os.ReadFile(o.Secret)
	return string(bytes.TrimSpace(text)), err
}

// do has the program do or tell something, and returns the word that it writes.
func (o *Outlet) do(ctx context.Context, verb string) (string, error) {
	out, err := exec.CommandContext(ctx, o.program, verb).Output()
	return string(bytes.TrimSpace(out)), err
}

// secret writes a password into a file, and returns the setting that names it.
func (o *Outlet) secret(setting, password string) (string, error) {
	name := filepath.Join(o.dir, setting)
	return fmt.Sprintf("%s = %q", setting, name), os.WriteFile(name, []byte(password+"\n"), 0o600)
}

// user is the settings of the user walt.
func (o *Outlet) user(password string) ([]string, error) {
	setting, err := o.secret("password_file", password)
	o.Secret = filepath.Join(o.dir, "password_file")
	return []string{`user = "walt"`, setting}, err
}

func (o *Outlet) command() ([]string, error) {
	o.start, o.stop = nothing, nothing
	return []string{fmt.Sprintf("program = [%q]", o.program)}, nil
}

func nothing() error { return nil }

func (o *Outlet) ipmi() ([]string, error) {
	b, err := NewBMC(o.dir)
	if err != nil {
		return nil, err
	}
	o.Supply = "ipmi@" + b.Host + ":" + b.Port
	o.start, o.stop = b.Start, b.Stop
	err = b.Worked(fmt.Sprintf(`"get power") if [ "$(%[1]s status)" = on ]; then echo power:1; else echo power:0; fi ;;
"set power") if [ "$3" = 1 ]; then %[1]s on; else %[1]s off; fi ;;`, o.program))
	settings, failed := o.user("secret-one")
	return settings, errors.Join(err, failed)
}

func (o *Outlet) snmp() ([]string, error) {
	sw, err := NewSwitch(o.dir, 1, 1, nil)
	if err != nil {
		return nil, err
	}
	o.start, o.stop = sw.Start, sw.Stop
	err = sw.Worked(o.program)
	settings, failed := o.user("authpass1")
	privacy, failedToo := o.secret("priv_password_file", "privpass1")
	return append(settings, privacy, fmt.Sprintf("host = %q", sw.Address), "version = 3", `auth_protocol = "SHA-256"`, `priv_protocol = "AES"`,
		fmt.Sprintf("oid = %q", strings.Trim(poeAdmin+"1", ".")), "on = 1", "off = 2"), errors.Join(err, failed, failedToo)
}

// serve has requests of the user walt be answered by a function that is told what is asked
// for, and returns the answer.
func (o *Outlet) serve(answer func(ctx context.Context, asked string, body []byte) (string, error)) (*httptest.Server, []string, error) {
	const password = "open sesame"
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, given, _ := r.BasicAuth(); user != "walt" || given != password {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(r.Body)
		text := ""
		if err == nil {
			text, err = answer(r.Context(), r.Method+" "+r.URL.Path, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write([]byte(text))
	}))
	o.stop = func() error { s.Close(); return nil }
	settings, err := o.user(password)
	return s, settings, err
}

func (o *Outlet) http() ([]string, error) {
	s, settings, err := o.serve(func(ctx context.Context, asked string, _ []byte) (string, error) {
		return o.do(ctx, strings.TrimPrefix(asked, "POST /outlet/1/"))
	})
	o.start = func() error { s.Start(); return nil }
	const url = `= "POST http://{host}/outlet/{port}/`
	return append(settings, `auth = "basic"`, fmt.Sprintf("host = %q", s.Listener.Addr()), "on "+url+`on"`, "off "+url+`off"`,
		"status "+url+`status"`, `is_on = "^on$"`, `is_off = "^off$"`), err
}

// redfish is a BMC with one system.
func (o *Outlet) redfish() ([]string, error) {
	const system, reset = "/redfish/v1/Systems/1", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
	s, settings, err := o.serve(func(ctx context.Context, asked string, body []byte) (string, error) {
		switch asked {
		case "GET /redfish/v1/Systems":
			return fmt.Sprintf(`{"Members":[{"@odata.id":%q}]}`, system), nil
		case "GET " + system:
			is, err := o.do(ctx, "status")
			if is != "" {
				is = strings.ToUpper(is[:1]) + is[1:]
			}
			return fmt.Sprintf(`{"@odata.id":%q,"PowerState":%q,"Actions":{"#ComputerSystem.Reset":{"target":%q}}}`, system, is, reset), err
		case "POST " + reset:
			verb := "on"
			if bytes.Contains(body, []byte("ForceOff")) {
				verb = "off"
			}
			return o.do(ctx, verb)
		}
		return "", fmt.Errorf("what is %s?", asked)
	})
	o.Supply = "redfish@" + s.Listener.Addr().String()
	s.StartTLS()
	o.start = nothing
	return append(settings, fmt.Sprintf(`tls_fingerprint = "%x"`, sha256.Sum256(s.Certificate().Raw))), err
}
