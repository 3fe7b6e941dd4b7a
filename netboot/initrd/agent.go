package initrd

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// agents has agent-ARCH.zst for each architecture, if the server was built by make.
//
//go:embed agents
var agents embed.FS

// agentLimit is how many bytes the program of machines has at most.
const agentLimit = 64 << 20

// ErrNoAgent says that the server was built without the program of machines.
var ErrNoAgent = errors.New("this server was built without the program that machines boot with; make build has it")

// Agent is the program of machines of an architecture, which is the init of their
// initramfs. The error is ErrNoAgent when this server has none.
func Agent(arch string) ([]byte, error) { return agentOf(agents, arch) }

func agentOf(tree fs.FS, arch string) ([]byte, error) {
	b, err := readPlain(tree, "agents/agent-"+arch+".zst", agentLimit)
	switch {
	case err == nil:
		return b, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the program of machines: %w", err)
	}
	if all, err := fs.Glob(tree, "agents/*.zst"); err == nil && len(all) > 0 {
		return nil, fmt.Errorf("there is no program for machines with %s", arch)
	}
	return nil, ErrNoAgent
}
