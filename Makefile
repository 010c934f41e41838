# make check is what must pass; .ci/run calls it, and make faults where it can. Every tool is fetched by its exact version.
SHELL       = bash
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT   = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
FUZZTIME   ?= 3s
COUNT      ?= 1
SOAK       ?= 1h
MIXEDSOAK  ?= 10m

.PHONY: check check-elsewhere fmt vet lint deps cross test race procs repeat kernels simulated portable arm64 compat peers browser fuzz fuzz-long packets soak smoke faults hostile reload agreement bench results bench-compare

check: fmt vet lint deps cross race procs kernels compat peers fuzz smoke

check-elsewhere: vet ## the part of check that needs no more than Go and make, for other systems than Linux
	go test -count=$(COUNT) -timeout 20m ./poller/... ./loop ./coserver/... ./bench/...

fmt: ## every file is formatted
	@test -z "$$(gofmt -l .)" || { gofmt -d . | head -n 40; exit 1; }

vet:
	go vet ./...

lint:
	go run $(STATICCHECK) ./...
	cd bench/compat && go run $(STATICCHECK) ./...
	cd coserver/prometheus && go run $(STATICCHECK) ./...
	cd bench/peers && go run $(STATICCHECK) ./...
	cd bench/report/browser && go run $(STATICCHECK) ./...
	cd .ci/vet && go run $(STATICCHECK) ./...

deps: ## who may know whom (docs/design.md)
	.ci/deps

cross: ## go vet of everything for all platforms, and, with BINARIES=1, test binaries too
	.ci/cross

test:
	go test -count=$(COUNT) ./...

# These have no goroutines, and much arithmetic that -race makes ten times slower.
PLAIN = ./bench/ab ./bench/report/... ./bench/result

race:
	go test -race -count=$(COUNT) -timeout 8m $$(go list ./... | grep -vxFf <(go list $(PLAIN)))
	go test -count=$(COUNT) $(PLAIN)

procs: ## the engine on other numbers of processors
	GOMAXPROCS=1 go test -count=$(COUNT) ./poller/... ./loop/... ./coserver/...
	GOMAXPROCS=4 go test -count=$(COUNT) ./poller/... ./loop/...

# Go's race runtime keeps what it knows of a coroutine when that has ended (runtime.coroexit has no racegoend), 1.5 GB for each time through
# coserver's tests: a process does so five times, and twenty take four.
repeat: ## the engine's tests twenty times with -race, on 1, 2 and 4 processors: two hours on two
	for procs in 1 2 4; do for part in 1 2 3 4; do \
		echo "GOMAXPROCS=$$procs, part $$part of 4"; \
		GOMAXPROCS=$$procs go test -race -count=5 -p 1 -timeout 30m ./loop ./coserver || exit 1; \
	done; done

kernels: ## the part of simulated and portable that is quick
	STRAND_KERNEL=kqueue go test -count=$(COUNT) ./poller ./loop
	STRAND_KERNEL=net go test -count=$(COUNT) ./loop

simulated: ## the engine on the system calls of macOS and the BSDs, as far as Linux can stand in for them (docs/platforms.md)
	STRAND_KERNEL=kqueue go test -count=$(COUNT) ./poller ./loop ./coserver
	STRAND_KERNEL=kqueue-pipe go test -count=$(COUNT) ./poller

portable: ## the engine over package net, as on Windows (docs/platforms.md)
	COUNT=$(COUNT) .ci/portable

arm64: ## the engine on arm64, by emulation if need be: needs qemu-aarch64-static
	COUNT=$(COUNT) .ci/arm64

compat: ## well-known libraries run on strand, and strand in them; modules of their own
	cd bench/compat && go vet ./...
	cd bench/compat && go test -race -count=$(COUNT) -timeout 8m ./...
	cd coserver/prometheus && go vet ./...
	cd coserver/prometheus && go test -race -count=$(COUNT) -timeout 8m ./...

peers: ## other network libraries, for strand bench --peers bench/peers/peers; a module of its own
	cd bench/peers && go vet ./...
	cd bench/peers && go test -count=$(COUNT) -timeout 8m ./...
	cd bench/peers && go build -o peers .

CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

browser: ## the pages of strand report in a real browser, a module of its own; needs Chromium
	@test -n "$(CHROMIUM)" || { echo "make browser needs chromium, chromium-browser or google-chrome" >&2; exit 1; }
	cd bench/report/browser && go vet ./...
	cd bench/report/browser && go test -count=$(COUNT) -timeout 8m ./... -chromium "$(CHROMIUM)"

fuzz: ## each fuzz target for a short while
	FUZZTIME=$(FUZZTIME) .ci/fuzz

fuzz-long: ## each for ten minutes, or FUZZTIME
	FUZZTIME=$(if $(filter command line environment,$(origin FUZZTIME)),$(FUZZTIME),10m) .ci/fuzz

packets: ## ten thousand random packets of up to 200 KB by each framing
	go test ./coserver -run '^TestRandomPackets$$' -count=$(COUNT) -v -packets 10000

soak: ## the simulations with random seeds for SOAK each, and handlers of all kinds on real sockets; a failure names its seed
	go test ./loop -run '^TestSimulation$$' -count=1 -timeout 0 -v -soak $(SOAK)
	go test ./coserver -run '^TestSimulation$$' -count=1 -timeout 0 -v -soak $(SOAK)
	go test -race ./coserver -run '^TestMixedSoak$$' -count=1 -timeout 0 -v -soak $(MIXEDSOAK)

smoke: ## the main path: the comparison runs and every byte is right
	go run ./cmd/strand bench --quick

STRACE ?= $(shell command -v strace)

faults: ## the real binary, whose system calls fail; needs strace on Linux
	@test -n "$(STRACE)" || { echo "make faults needs strace" >&2; exit 1; }
	go test -count=$(COUNT) -timeout 3m -run 'TestFaults$$' ./cmd/strand -strace "$(STRACE)"

reload: ## many reloads of the real binary, under 1,000 new connections a second and 500 that stay
	go test -count=$(COUNT) -timeout 10m -run 'TestReloadUnderLoad$$' -v ./cmd/strand -reloads

SLOWHTTPTEST ?= $(shell command -v slowhttptest)

hostile: ## what must hold under attack, in the large and to the figure; needs slowhttptest, 20,000 descriptors and a quiet machine
	@test -n "$(SLOWHTTPTEST)" || { echo "make hostile needs slowhttptest" >&2; exit 1; }
	go test ./coserver -count=$(COUNT) -timeout 30m -v -long -slowhttptest "$(SLOWHTTPTEST)" \
		-run '^(TestRestartsBesideAnother|TestStormBesideBusyConnections|TestSlowPeersBesideOthers|TestSlowHTTPTest|TestMemoryAfterABurst)$$'
	go test ./cmd/strand -count=$(COUNT) -timeout 10m -v -long -run '^(TestDescriptorsRunOutBesideOthers|TestPeersThatNeverRead)$$'

WRK             ?= $(shell command -v wrk)
REDIS_SERVER    ?= $(shell command -v redis-server)
REDIS_BENCHMARK ?= $(shell command -v redis-benchmark)
IPERF3          ?= $(shell command -v iperf3)

agreement: ## strand load measures what wrk, redis-benchmark and iperf3 do; needs them, redis-server, taskset, two processors and a quiet machine
	@test -n "$(WRK)" -a -n "$(REDIS_SERVER)" -a -n "$(REDIS_BENCHMARK)" || { echo "make agreement needs wrk, redis-server and redis-benchmark" >&2; exit 1; }
	@test -n "$(IPERF3)" || { echo "make agreement needs iperf3" >&2; exit 1; }
	go test ./cmd/strand -count=$(COUNT) -timeout 30m -v -run '^(TestAgreement|TestLoadOfIperf3)' -wrk "$(WRK)" -redis-server "$(REDIS_SERVER)" \
		-redis-benchmark "$(REDIS_BENCHMARK)" -iperf3 "$(IPERF3)"

bench:
	go run ./cmd/strand bench

RESULTS = bench/results

results: peers ## measure all that README.md and docs/measured.md say, and write it there; half an hour, and a quiet machine
	go run ./cmd/strand bench --rounds 7 --duration 2s --scenario echo,line,length --peers bench/peers/peers --json $(RESULTS)/readme.json
	go run ./cmd/strand bench --rounds 7 --duration 1s --scenario churn,sink,push,broadcast,udp-echo --conns 100,1000 --json $(RESULTS)/workloads.json
	go run ./cmd/strand report $(RESULTS)/readme.json --table README.md --svg docs/measured.svg
	go run ./cmd/strand report $(RESULTS)/workloads.json --table docs/measured.md

bench-compare: ## the micro-benchmarks and the echo of this tree against REF
	BENCHSTAT=$(BENCHSTAT) .ci/bench-compare $(REF)
