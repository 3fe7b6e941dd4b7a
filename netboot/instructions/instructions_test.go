package instructions

import (
	"encoding/json"
	"strings"
	"testing"
)

func good() Instructions {
	return Instructions{
		HostKey: "key", Init: "/sbin/init", Volumes: []string{"/data"},
		Root: Root{NFS: []NFS{{Server: "10.0.0.1:2049", Path: "/image"}}, Size: "60%"},
	}
}

func TestParse(t *testing.T) {
	for want, change := range map[string]func(*Instructions){
		"":                   func(*Instructions) {},
		"one root":           func(i *Instructions) { i.Root.RAM = []string{"http://server/tar"} },
		"no host key":        func(i *Instructions) { i.HostKey = "" },
		"no absolute path":   func(i *Instructions) { i.Init = "init" },
		"no IP:port:/path":   func(i *Instructions) { i.Root.NFS[0].Server = "server:2049" },
		`the word "60%,x"`:   func(i *Instructions) { i.Root.Size = "60%,x" },
		`volumes ["/x/../"]`: func(i *Instructions) { i.Volumes = []string{"/x/../"} },
	} {
		i := good()
		change(&i)
		b, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if _, err := Parse([]byte("{")); err == nil {
		t.Error("half a document was taken")
	}
}
