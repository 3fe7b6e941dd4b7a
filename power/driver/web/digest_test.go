package web

import (
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/power/driver"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// TestVectors answers as the example of RFC 7616 does, section 3.9.1.
func TestVectors(t *testing.T) {
	t.Parallel()
	challenges := parseChallenges([]string{
		`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
		`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
	})
	if len(challenges) != 2 {
		t.Fatalf("got %v", challenges)
	}
	for i, c := range []struct {
		algorithm func() hash.Hash
		response  string
	}{
		{sha256.New, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
		{md5.New, "8ca523f5e9506fed4657c9700eebdbec"},
	} {
		got := challenges[i].answer(c.algorithm, "auth", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "Mufasa", "Circle of Life", "GET", "/dir/index.html")
		if !strings.Contains(got, `response="`+c.response+`"`) || !strings.Contains(got, `opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`) {
			t.Errorf("got %s", got)
		}
	}
	if proof, can := digest(parseChallenges([]string{`Basic realm="x"`}), "a", "b", "GET", "/"); can {
		t.Errorf("a password in the clear is answered with %s", proof)
	}
}

// program finds a real program.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: install the Debian package", name)
		}
		t.Skipf("%s is missing: install the Debian package", name)
	}
	return path
}

// TestLighttpd asks a real server that wants a digest, of each algorithm.
func TestLighttpd(t *testing.T) {
	t.Parallel()
	lighttpd := program(t, "lighttpd")
	for _, algorithm := range []string{"MD5", "SHA-256"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			write("state", `{"output":true}`)
			write("users", user+":"+password+"\n")
			address := freeAddress(t)
			host, port, _ := strings.Cut(address, ":")
			conf := write("conf", `server.modules = ("mod_auth", "mod_authn_file")
server.document-root = "`+dir+`"
server.bind = "`+host+`"
server.port = `+port+`
auth.backend = "plain"
auth.backend.plain.userfile = "`+dir+`/users"
auth.require = ("" => ("method" => "digest", "algorithm" => "`+algorithm+`", "realm" => "lab", "require" => "valid-user"))
`)
			cmd := exec.Command(lighttpd, "-D", "-f", conf)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			answers(t, "http://"+address)
			s := Settings{
				Name: "plugs", Host: address, Auth: Digest, User: user, Password: password,
				Profile: Profile{
					On: "GET http://{host}/on", Off: "GET http://{host}/off", Status: "GET http://{host}/state?id={port}",
					IsOn: `"output":true`, IsOff: `"output":false`,
				},
			}
			if is, err := open(t, s).Status(t.Context(), driver.Target{Port: "1"}); err != nil || is != driver.On {
				t.Errorf("it is %s, %v", is, err)
			}
			s.Password = "s3cret"
			_, err := open(t, s).Status(t.Context(), driver.Target{Port: "1"})
			wantRefusal(t, err, "plugs:1 refuses who asks (401 Unauthorized)")
		})
	}
}

// TestStaleNonce does not take for a wrong password that the question went stale, as somebody
// else was asked another one in between.
func TestStaleNonce(t *testing.T) {
	t.Parallel()
	pass, stale := digestGuard(sha256.New, sha256Challenge), true
	d := newDevice(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" || !stale {
			return pass(w, r)
		}
		stale = false
		w.Header().Set("WWW-Authenticate", sha256Challenge+", stale=TRUE")
		http.Error(w, "again", http.StatusUnauthorized)
		return false
	})
	plugs := open(t, d.settings(), as(Digest))
	_, err := plugs.Status(t.Context(), driver.Target{Port: "0"})
	wantFault(t, err, "plugs:0 takes the proof of the password for too old (401 Unauthorized)")
	if _, refused := errors.AsType[driver.Refusal](err); refused {
		t.Error("it is not asked again")
	}
	if is, err := plugs.Status(t.Context(), driver.Target{Port: "0"}); err != nil || is != driver.On {
		t.Errorf("asked again, it is %v, %v", is, err)
	}
}

// TestCurl has a real client ask the device of these tests, so that it wants no less than
// what clients send.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl := program(t, "curl")
	for _, name := range []string{"digest, MD5", "digest, SHA-256"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			device := newDevice(t, guards[name])
			out, err := exec.Command(curl, "-sS", "--digest", "-u", user+":"+password, device.URL+"/relay/0?turn=off").CombinedOutput()
			if err != nil || !strings.Contains(string(out), `"ison":false`) || device.is("0") {
				t.Errorf("curl says %s, %v", out, err)
			}
		})
	}
}

// answers waits until a server does.
func answers(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if r, err := client.Get(url); err == nil {
			r.Body.Close()
			return
		}
	}
	t.Fatalf("%s does not answer", url)
}

// freeAddress is one of a loopback address that is its own: nobody takes the port meanwhile.
func freeAddress(t *testing.T) string {
	t.Helper()
	own := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	free, err := net.Listen("tcp", own.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

func FuzzChallenges(f *testing.F) {
	f.Add(sha256Challenge + ", " + md5Challenge)
	f.Add(`Digest realm="x\`)
	f.Add(`Basic, Digest a = b ,, c="d" "e"`)
	f.Fuzz(func(t *testing.T, header string) {
		proof, can := digest(parseChallenges([]string{header}), user, password, "GET", "/")
		if can != (proof != "") || strings.Contains(proof, "s3cret") {
			t.Errorf("%q is answered with %q", header, proof)
		}
	})
}
