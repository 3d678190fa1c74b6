# The two that matter: make demo, make test. The others are their parts. NAME names a cluster of hack/cluster.
NAME ?= dev

# Static, and the same bytes for the same sources.
GOBUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/kedahttp/kedahttp/plugin.Version=$(VERSION) -X github.com/kedahttp/kedahttp/apiserver/server.Version=$(VERSION)"
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The race detector needs a C compiler.
RACE = $(if $(shell command -v gcc),-race)

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: bin/cluster bin/kubectl-http ## A real cluster with KEDA, and an app that wakes, grows and sleeps in it.
	@hack/demo.sh

.PHONY: demo-down
demo-down: bin/cluster ## Remove what demo left running.
	@bin/cluster down demo

.PHONY: test
test: test-unit test-e2e ## All tests: the packages' own, then end to end on a real cluster.

.PHONY: test-unit
test-unit: ## The packages' own tests.
	go -C hack/cluster test ./...
	go test $(RACE) ./...

.PHONY: fuzz
fuzz: ## Every fuzz target for a few seconds; FUZZ_SECONDS=N for N of all together.
	hack/fuzz.sh $(FUZZ_SECONDS)

.PHONY: test-e2e
test-e2e: bin/cluster ## End to end, in clusters of its own that are removed afterwards. E2E_CLUSTER=NAME uses, and keeps, that one.
ifeq ($(E2E_CLUSTER)$(RUN),)
	@bin/cluster build --enforce-network-policies >/dev/null
	@echo 'Three clusters at a time, four in all. What is said of each comes when its tests have ended.'
	@$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync=target test-e2e-beside test-e2e-alone test-e2e-without-keda test-e2e-chart
else
	@$(MAKE) --no-print-directory test-e2e-all
endif

E2E = cd test/e2e && ../../$< -test.timeout 60m $(if $(RUN),-test.run '$(RUN)')

.PHONY: test-e2e-all
test-e2e-all: bin/e2e.test bin/cluster bin/kubectl-http bin/tools/prometheus ## What runs with KEDA, in one cluster. E2E_CLUSTER as above, RUN=REGEX for some of it; so below.
	$(E2E) -test.parallel 3

.PHONY: test-e2e-beside
test-e2e-beside: bin/e2e.test bin/cluster bin/kubectl-http bin/tools/prometheus ## Of that, what runs beside one another.
	export E2E_ONLY=beside; $(E2E) -test.parallel 3

.PHONY: test-e2e-alone
test-e2e-alone: bin/e2e.test bin/cluster bin/kubectl-http ## And what disturbs the system, or measures what every other test would disturb.
	export E2E_ONLY=alone; $(E2E)

.PHONY: test-e2e-without-keda
test-e2e-without-keda: RUN ?= ^TestWithoutKEDA
test-e2e-without-keda: bin/e2e-without-keda.test bin/cluster bin/kubectl-http ## What is different without KEDA, in a cluster without.
	$(E2E) -test.parallel 4

.PHONY: test-e2e-chart
test-e2e-chart: RUN = ^TestChart
test-e2e-chart: bin/e2e-chart.test bin/cluster bin/kubectl-http bin/tools/helm bin/tools/hey ## The Helm chart: installed, upgraded, rolled back and removed under load, in a cluster that has nothing of kedahttp.
	$(E2E)

.PHONY: test-long
test-long: bin/cluster bin/kubectl-http ## Rows of 50 cold starts, the first requests after half an hour without any, and informers that watch for 20 minutes. E2E_CLUSTER as above.
	E2E_INFORMERS_FOR=$(or $(E2E_INFORMERS_FOR),20m) go test -tags e2e,long -count 1 -timeout 90m -v -run '$(or $(RUN),^TestLong|^TestInformersHearEveryChange)' ./test/e2e

.PHONY: test-exposed
test-exposed: bin/cluster bin/kubectl-http bin/tools/traefik ## Requests through a real Ingress controller and Gateway, Traefik, which takes minutes to build. E2E_CLUSTER as above.
	go test -tags e2e,exposed -count 1 -timeout 30m -v -run '$(or $(RUN),^TestAnIngressController)' ./test/e2e

.PHONY: test-cert-manager
test-cert-manager: bin/cluster bin/kubectl-http bin/tools/helm bin/tools/cert-manager ## The chart with the API server's certificate from cert-manager, which takes minutes to build. E2E_CLUSTER as above.
	go test -tags e2e,chart,certmanager -count 1 -timeout 20m -v -run '$(or $(RUN),^TestChartsCertificate)' ./test/e2e

# What differs between hosts: admission and discovery, namespaces, schemas, informers, scaling, and KEDA's part of it.
HOSTS ?= 1.35 1.37
HOST_TESTS = ^Test(AnAppWakesGrowsAndSleeps|ScaleGoesToTheWorkload|EveryFieldIsExplainedInASentence|ApplyingTwiceChangesNothing|ANamespaceIsDeletedWithItsApps|WhoAsksForProtobuf|EveryWriterIsAManager|ThePublishedSchemaKnowsTheKinds|ARollingRestartFailsNoRequest|InformersHearEveryChange|QuotasCountApps|PoliciesOfTheClusterHoldForApps|DiscoveryTellsOfApps|DeletingAnAppDoesWithItsDependents|ABrokenRecord)

.PHONY: test-hosts
test-hosts: bin/cluster bin/kubectl-http ## The part of test-e2e that hosts make a difference to, on each of HOSTS. Long: it builds their Kubernetes the first time.
	@set -e; for host in $(HOSTS); do echo "Kubernetes $$host"; \
		E2E_KUBERNETES=$$host E2E_INFORMERS_FOR=$(or $(E2E_INFORMERS_FOR),2m) go test -tags e2e -count 1 -parallel 4 -v -timeout 30m -run '$(or $(RUN),$(HOST_TESTS))' ./test/e2e; done

.PHONY: bench
bench: bench-simulation bench-apiserver bench-scaling bench-proxy ## Measure, beside references in the same run; the figures as JSON lines are in bin/bench.

.PHONY: bench-apiserver
bench-apiserver: bin/cluster bin/kubectl-http ## The API, beside the same objects as a plain CRD.
	@hack/bench.sh apiserver --out bin/bench/apiserver.jsonl

.PHONY: bench-scaling
bench-scaling: bin/cluster bin/kubectl-http ## Cold starts beside the same workload scaled by hand, bursts beside KEDA alone.
	@hack/bench.sh scaling --out bin/bench/scaling.jsonl

.PHONY: bench-simulation
bench-simulation: ## Two hours of traffic through the scaling by a simulated clock, beside a plain HPA and Knative's algorithm; with a CSV and a PNG.
	@hack/bench.sh simulation --out bin/bench/simulation.jsonl

.PHONY: bench-proxy
bench-proxy: ## The interceptor's data path, beside nginx, haproxy, a plain ReverseProxy and the backend alone, on loopback.
	@$(GOBUILD) -o bin/interceptor ./cmd/interceptor
	@hack/bench.sh proxy --interceptor bin/interceptor --out bin/bench/proxy.jsonl

.PHONY: chaos
chaos: bin/cluster ## Break one part after the other under load, and tell what was lost. SEED=N does the same again, ONLY=REGEX some of it.
	@hack/chaos.sh $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)')

.PHONY: conformance
conformance: bin/cluster ## Kubernetes' own tests of storage and registries: on records on a kube-apiserver that ends with the test, and on etcd.
	KUBE_APISERVER=$$(bin/cluster build --without-keda | grep /kubernetes-)/kube-apiserver \
		go test -tags e2e -count 1 -timeout 15m -run "TestStorageConformance|TestWatchesShare|TestARecord|ConventionsOfKubernetes" \
		./apiserver/storage/recordstore ./apiserver/storage/embedded ./apiserver/registry/httpapp

.PHONY: cluster
cluster: bin/cluster ## Start a cluster: make cluster NAME=dev
	@bin/cluster up $(NAME)

.PHONY: install
install: bin/cluster bin/kubectl-http ## Build kedahttp and put it into a running cluster.
	@bin/cluster install $(NAME) --repo .

.PHONY: cluster-down
cluster-down: bin/cluster ## Stop a cluster and remove every trace of it.
	@bin/cluster down $(NAME)

.PHONY: build
build: bin/kubectl-http ## Build the plugin and the servers into bin/.
	$(GOBUILD) -o bin/ ./cmd/...

.PHONY: images
images: bin/cluster ## Write the images for amd64 and arm64 as OCI archives to bin/images, with what they are made of.
	@hack/images.sh

.PHONY: images-check
images-check: ## Build the images of the last commit twice, in different places; they have to be the same bytes, labelled, with what they are made of.
	@hack/images-check.sh

.PHONY: dist
dist: bin/tools/helm ## What is released beside the images, in bin/dist: the chart, the manifests, the plugin for all platforms, checksums.
	@VERSION=$(if $(filter command environment,$(origin VERSION)),$(VERSION)) hack/dist.sh

.PHONY: generate
generate: ## Make the generated code again.
	hack/generate.sh

.PHONY: generate-check
generate-check: generate ## Fail when the generated code in the tree is not what the generators make.
	@git diff --exit-code --stat -- '*zz_generated*' '*.pb.go' apiserver/client docs/kubectl-http.md docs/metrics.md docs/httpapp.md docs/flags.md && test -z "$$(git ls-files --others --exclude-standard -- '*zz_generated*' '*.pb.go' apiserver/client)" || { echo 'Generated code is stale: run make generate and commit it.' >&2; exit 1; }

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and govulncheck where its database can be reached.
	hack/lint.sh

.PHONY: clean
clean: ## Remove bin/. Clusters and their cache stay.
	rm -rf bin

# Go knows best what is stale.
.PHONY: bin/e2e.test bin/e2e-without-keda.test bin/e2e-chart.test
bin/e2e.test:
	@go test -tags e2e -c -o $@ ./test/e2e
bin/e2e-without-keda.test:
	@go test -tags e2e,withoutkeda -c -o $@ ./test/e2e
bin/e2e-chart.test:
	@go test -tags e2e,chart -c -o $@ ./test/e2e
.PHONY: bin/cluster bin/kubectl-http bin/tools/helm bin/tools/hey bin/tools/prometheus bin/tools/traefik bin/tools/cert-manager
bin/cluster:
	@go -C hack/cluster build -o ../../bin/cluster .
bin/tools/helm:
	@go -C hack/tools build -o ../../bin/tools/helm helm.sh/helm/v4/cmd/helm
bin/tools/hey:
	@go -C hack/tools build -o ../../bin/tools/hey github.com/rakyll/hey
# Without the clients of the clouds where it could look for what to scrape.
bin/tools/prometheus:
	@go -C hack/tools/prometheus build -tags remove_all_sd -o ../../../bin/tools/ github.com/prometheus/prometheus/cmd/prometheus
bin/tools/cert-manager:
	@CGO_ENABLED=0 go -C hack/tools/cert-manager build -trimpath -ldflags "-s -w" -o ../../../bin/tools/cert-manager .
bin/tools/traefik:
	@hack/tools/traefik/build.sh
bin/kubectl-http:
	@$(GOBUILD) -o bin/kubectl-http ./cmd/kubectl-http
