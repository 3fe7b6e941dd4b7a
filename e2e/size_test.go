package e2e

import (
	"os"
	"testing"
)

// maxSize bounds the stripped program, in bytes, one percent above what it was when
// this was set (amd64): 33.93 MB. 6.5 of them are the programs for machines of three
// architectures, compressed, which only make puts in; 5.1 are the network of machines
// and what they and boards boot, mostly a TCP/IP stack, and 0.8 of these what firmware
// asks for; 0.4 are the time zones of the world; 0.6 take and keep what nodes say, mostly to read syslog; 0.5 serve and copy files over SFTP; 0.1 tell how wide
// characters are; 0.5 are what switches nodes beside switches. A feature that needs more raises it, and
// says here what the bytes are for. What comes by accident is mostly a package that
// reaches methods by name, as text/template does: the linker then keeps all.
const maxSize = 34_270_000

func TestSize(t *testing.T) {
	t.Parallel()
	program, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxSize {
		t.Errorf("the program has %d bytes, more than %d", info.Size(), maxSize)
	}
	t.Logf("%d bytes", info.Size())
}
