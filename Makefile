# What can be done here; a bare `make` lists it.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
TOOL    := $(GO) tool -modfile=tools/go.mod
# The race detector needs cgo and doubles the time: CI has it, `make test RACE=-race` too.
RACE    ?= $(if $(filter true,$(CI)),-race)
CUTS    ?= 200
RUNS    ?= 100
AGENTS  := amd64 arm64 arm
PLATFORMS := linux/amd64 linux/arm64 linux/arm darwin/arm64

# One way to compile for all targets but the race detector, which saves doing it again.
export CGO_ENABLED := 0
export GOARM := 6
export GOFLAGS += -trimpath

.PHONY: help agents build demo machines test test-boot test-machines model lint format bench powercut cross parts clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What runs on machines that boot over the network; the server has it in it, compressed.
agents:
	@for a in $(AGENTS); do \
		GOOS=linux GOARCH=$$a $(GO) build -ldflags '-s -w' -o bin/agent-$$a ./netboot/agent || exit 1; \
	done
	@$(GO) run ./netboot/initrd/pack netboot/initrd/agents $(AGENTS:%=bin/agent-%)

build: agents ## build the static server program, bin/waltd
	$(GO) build -ldflags '-s -w -X main.version=$(VERSION)' -o bin/waltd .

demo: build ## start a throw-away lab on loopback and take a tour of it
	bin/waltd demo

machines: build ## the same with nodes that are machines: QEMU, a tiny image and a Debian are made or installed
	scripts/machines bin/machines
	bin/waltd demo --once --machines bin/machines

test: parts ## run all tests, the stories through the real ssh client among them
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -timeout 20m ./...
	$(if $(RACE),$(GO) test -timeout 20m ./state/badger && $(GO) test -timeout 20m -run TestModel ./nodes)

MACHINES := ./vnode/qemu ./netboot/agent ./e2e/machines
MACHINE_PARTS := ssh rsync ansible curl docker-registry qemu-system-x86_64 busybox modprobe cpio xz zstd ip dnsmasq snmpd snmpget ipmi_sim \
	/usr/lib/ipxe/snponly.efi /usr/share/ovmf/OVMF.fd

test-boot: agents ## boot machines in QEMU, and run the stories of nodes that are machines, two at a time
	scripts/parts $(MACHINE_PARTS)
	WALT_MACHINES=1 $(GO) test -p 1 -parallel 2 -count=1 -timeout 30m $(MACHINES)
	WALT_MACHINES=1 $(GO) test -run Linux -count=1 -timeout 30m ./netboot/nfs

test-machines: agents ## the same, and those that take long
	scripts/parts $(MACHINE_PARTS) debootstrap qemu-system-aarch64 /usr/lib/u-boot/qemu_arm64/u-boot.bin /usr/share/OVMF/OVMF_CODE_4M.secboot.fd
	WALT_MACHINES=long $(GO) test -p 1 -parallel 2 -count=1 -timeout 2h $(MACHINES)
	WALT_MACHINES=long $(GO) test -run Linux -count=1 -timeout 30m ./netboot/nfs

model: ## play RUNS new runs of the model of nodes, at random: 3 s each
	$(GO) test -run 'TestModel$$' -timeout 4h ./nodes -runs $(RUNS)

lint: ## check the format, vet, staticcheck, and that every platform compiles
	@test -z "$$($(TOOL) gofumpt -l . | tee /dev/stderr)" || { echo "the files above want: make format"; exit 1; }
	$(GO) mod verify
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@for p in $(PLATFORMS); do \
		echo "compile for $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -o /dev/null . || exit 1; \
	done

format: ## rewrite the code in its standard format
	$(TOOL) gofumpt -w .

bench: build ## measure what the server promises, ONLY='boots' booting machines: 15 minutes more
	scripts/parts ssh ssh-keygen sshd docker-registry skopeo ip in.tftpd
	$(GO) run ./e2e/bench -waltd bin/waltd $(if $(ONLY),-only '$(ONLY)')

powercut: build ## cut the power of a virtual machine with the server CUTS times: 10 s each
	scripts/parts ssh docker-registry qemu-system-x86_64 busybox modprobe cpio mke2fs
	scripts/guest bin/guest bin/waltd
	$(GO) run ./e2e/powercut -cuts $(CUTS)

cross: agents ## build bin/waltd-OS-ARCH for every platform
	@for p in $(PLATFORMS); do \
		echo "bin/waltd-$${p%/*}-$${p#*/}"; GOOS=$${p%/*} GOARCH=$${p#*/} \
		$(GO) build -ldflags '-s -w -X main.version=$(VERSION)' -o bin/waltd-$${p%/*}-$${p#*/} . || exit 1; \
	done

parts: ## install, or name, the real programs that the tests use
	scripts/parts ssh ssh-keygen docker-registry dockerd podman skopeo snmpd snmpget ipmi_sim ser2net puttygen openssl curl lighttpd tftp $(if $(RACE),gcc)

clean: ## remove what was built
	rm -rf bin netboot/initrd/agents/*.zst
