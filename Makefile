# Checks come in pairs: verify-x says what is wrong and changes nothing, fix-x
# puts right what a machine can. `make verify` runs every check, .ci/run runs
# them and the tests.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

BUF := go tool -modfile=tools/go.mod buf
LINT := go tool -modfile=tools/lint/go.mod golangci-lint
NODE_CONNECTOR := cmd/tongcha/testdata/node-connector

# What gofmt looks at: every Go file of the tree that isn't generated or ignored.
GO_FILES = git ls-files --cached --others --exclude-standard -- '*.go' ':!gen' | while read -r f; do [ ! -f "$$f" ] || echo "$$f"; done

# run-test TAG,TEST[,PACKAGE[,FLAGS]] runs one end-to-end test of the binary. A
# test that isn't there, or that skips itself, fails: `go test -run` alone would
# call that ok.
define run-test
out=$$(mktemp)
trap 'rm -f "$$out"' EXIT
go test -count=1 -tags=$(1) $(or $(3),./cmd/tongcha) -run '^$(2)$$' -v $(4) | tee "$$out"
grep -q '^--- PASS: $(2) ' "$$out" || { echo "$(2) did not run"; exit 1; }
endef

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

## tests

.PHONY: test race readme node postgres
test: ## every test that needs nothing but Go
	go test ./...

race: ## the same under the race detector; needs a C compiler
	CGO_ENABLED=1 go test -race ./...

readme: ## the transcript in README.md, command by command
	@$(call run-test,transcript,TestReadmeTranscript)

node: $(NODE_CONNECTOR)/node_modules/.package-lock.json ## a connector in Node, joined, looked up and unbound; needs node and npm
	@$(call run-test,node,TestNodeConnector)

# CHAOS_KILLS and CHAOS_HUBS change how often how many hubs are killed. The seed of a
# run is in its output; CHAOS_SEED draws the same chances again.
.PHONY: chaos chaos-short
chaos: ## the hub is killed 2400 times, about 10 minutes; Linux
	@$(call run-test,chaos,TestChaosLong,./cmd/tongcha/chaos,-timeout 60m)

chaos-short: ## the same for a minute, and proof that a broken hub is found out; Linux
	@$(call run-test,chaos,TestChaosShort,./cmd/tongcha/chaos)

postgres: ## the queue on PostgreSQL against a real server; needs the Debian package postgresql
	go test -count=1 -tags=postgres ./server/store/postgres/...

.PHONY: sim sim-fence
sim-fence: ## a hub whose leases do not hold is found out by the simulator
	go test -count=1 -tags brokenfence ./server/simtest -run TestBrokenFence -v | grep -v '=== '

sim: ## the simulator's long form, about 15 minutes: 200 worlds, 10 of them of 90 days, 100,000 short histories, a broken fence
	go test -count=1 ./server/simtest -run 'TestSimulation$$' -sim.seeds=200 -timeout 30m -v | grep -v '=== '
	go test -count=1 ./server/simtest -run 'TestSimulation$$' -sim.seeds=10 -sim.from=1001 -sim.days=90 -timeout 30m -v | grep -v '=== '
	go test -count=1 ./server/simtest -run TestWrongfulUnbinds -sim.histories=100000 -timeout 30m -v | grep -v '=== '
	$(MAKE) sim-fence

# The benchmarks are modules of their own, so that the hub does not depend on what
# it is compared with, nor one benchmark on what another needs.
.PHONY: bench bench-test
bench-test: ## the benchmarks work; says nothing about speed; needs the Debian package postgresql
	go -C bench test ./...
	go -C bench/lives test ./...

bench: ## every benchmark of docs/performance.md, about 35 minutes; wants a quiet machine
	go -C bench run ./fanout
	go -C bench run ./badplatforms
	go -C bench run ./rest
	dir=$$(mktemp -d .bench-XXXXXX) # on the disk of the tree, not in memory
	chmod 711 "$$dir" # PostgreSQL runs as another user than root
	trap 'rm -rf "$$dir"' EXIT
	go -C bench run ./enqueue --dir "$$PWD/$$dir" --seconds 60
	go -C bench run ./badqueue --dir "$$PWD/$$dir"
	go -C bench run ./million --dir "$$PWD/$$dir"
	go -C bench/lives run . -dir "$$PWD/$$dir"
	go test -run xxx -bench 'GetLookup|LookupJSON' ./server/gateway
	go test -run xxx -bench WayIn ./server/rpc
	go test -run xxx -bench Start -cpu 1 ./server/lookup

$(NODE_CONNECTOR)/node_modules/.package-lock.json: $(NODE_CONNECTOR)/package-lock.json
	npm ci --prefix $(NODE_CONNECTOR) --no-audit --no-fund
	touch $@

# A disk that fails: the binary under strace, which lets one write or sync fail, and
# on file systems of a few MiB that are filled. Needs strace, and root for the file
# systems. onethread is for strace, which counts each thread's calls on their own.
.PHONY: chaos-disk chaos-disk-short
chaos-disk: ## every write and sync up to the 200th fails once; full disks; about 10 minutes
	go test -count=1 -timeout 40m -tags=chaos,onethread ./cmd/tongcha -run 'TestDiskFails$$|FullDisk|DiskFullIn|FillTheDisk|LogIsStuck' -v | grep -E '^(---|ok|FAIL)|_test.go:|^panic'

chaos-disk-short: ## a sample of it; less than a minute
	go test -count=1 -timeout 5m -tags=chaos,onethread ./cmd/tongcha -run 'TestDiskFailsShort$$|FullDisk|DiskFullIn|LogIsStuck' -v | grep -E '^(---|ok|FAIL)|_test.go:|^panic'

# A network that fails: the hub and each connector in a network namespace of their
# own, whose packets are dropped. Needs root, and iproute2 and iptables.
.PHONY: chaos-net chaos-net-short
chaos-net: ## connectors are cut off in five ways, for a minute and for four; about 6 minutes; Linux
	@$(call run-test,chaos,TestNetLong,./cmd/tongcha,-timeout 20m)

chaos-net-short: ## two of them for 9 s; half a minute; Linux
	@$(call run-test,chaos,TestNetShort)

## checks

CHECKS := gen proto breaking fmt tidy lint

.PHONY: verify $(CHECKS:%=verify-%) $(filter-out fix-breaking,$(CHECKS:%=fix-%))
verify: $(CHECKS:%=verify-%) ## every check

verify-gen: ## gen/ is what the protos generate
	@tmp=$$(mktemp -d)
	trap 'rm -rf "$$tmp"' EXIT
	$(BUF) generate -o "$$tmp"
	diff -r --exclude=gen.go "$$tmp/gen" gen || { echo "gen/ has drifted: run 'make fix-gen'"; exit 1; }

fix-gen: ## generate gen/ anew
	$(BUF) generate

verify-proto: ## the protos are formatted and follow the rules of buf.yaml
	$(BUF) format --diff --exit-code
	$(BUF) lint

fix-proto: ## format the protos
	$(BUF) format --write
	$(BUF) lint

# The contracts are held against the newest tag before HEAD, since that is what
# others build on; as long as there is none, against HEAD's parent. BASE=REF
# chooses another. There is no fix-breaking: a break has to be undone.
verify-breaking: ## the contracts break nobody who uses an older one
	@base=$${BASE:-$$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null || git rev-parse --quiet --verify HEAD^ || true)}
	if [ -z "$$base" ]; then
	  if [ "$$(git rev-parse --is-shallow-repository)" = true ]; then
	    echo "verify-breaking: nothing compared, the clone is shallow and holds no earlier commit"
	  else
	    echo "verify-breaking: nothing compared, this is the first commit"
	  fi
	  exit 0
	fi
	git rev-parse --quiet --verify "$$base^{commit}" >/dev/null || { echo "verify-breaking: no commit $$base"; exit 1; }
	if ! git cat-file -e "$$base:buf.yaml" 2>/dev/null || ! git cat-file -e "$$base:proto" 2>/dev/null; then
	  echo "verify-breaking: nothing compared, $$base holds no protos"
	  exit 0
	fi
	tmp=$$(mktemp -d)
	trap 'rm -rf "$$tmp"' EXIT
	git archive "$$base" buf.yaml proto | tar -x -C "$$tmp"
	echo "verify-breaking: comparing with $$base"
	$(BUF) breaking --against "$$tmp"

verify-fmt: ## Go files are formatted
	@bad=$$($(GO_FILES) | xargs -r gofmt -s -l)
	[ -z "$$bad" ] || { echo "gofmt -s would change:"; echo "$$bad"; exit 1; }

fix-fmt: ## format the Go files
	$(GO_FILES) | xargs -r gofmt -s -w

# tools/go.mod is checked for being complete instead of tidy: tidy also wants the
# test dependencies of buf's dependencies, and some of those can't be had
# everywhere.
verify-tidy: ## the module files are complete and hold nothing superfluous
	go mod tidy -diff
	go -C bench mod tidy -diff
	go -C bench/lives mod tidy -diff
	go -C tools/lint mod tidy -diff
	go -C tools list -mod=readonly -deps tool >/dev/null

fix-tidy: ## tidy the module files
	go mod tidy
	go -C bench mod tidy
	go -C bench/lives mod tidy
	go -C tools/lint mod tidy

verify-lint: ## golangci-lint finds nothing
	$(LINT) run ./...
	(cd bench && go tool -modfile=../tools/lint/go.mod golangci-lint run ./...)
	(cd bench/lives && go tool -modfile=../../tools/lint/go.mod golangci-lint run ./...)

fix-lint: ## let golangci-lint change what it can
	$(LINT) run --fix ./...
