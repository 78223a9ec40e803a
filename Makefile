# Raftsman. `make help` lists the targets. Every target installs what it needs: beside GNU make, a Linux machine needs
# only Node (any, for npm), Go, and root for the targets that bring up a Kubernetes.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

NODE := node_modules/node/bin/node
RUN := $(NODE) --disable-warning=ExperimentalWarning
JEST := $(RUN) --experimental-vm-modules node_modules/jest/bin/jest.js
INSTALLED := node_modules/.raftsman-installed

# The name of the local cluster of `demo`, `cluster-up` and `run`; CONTEXT uses a cluster of your own instead.
CLUSTER ?= raftsman
CONTEXT ?=
IMAGE ?= raftsman:dev
# How long `soak` and `torture` let things happen, and the seed of a run to repeat
MINUTES ?= 10
SEED ?=
# How many members `torture` has: 3 and 5 in turn unless told
MEMBERS ?=
# How many seeds `sim` runs
SEEDS ?= 2000
# Jest's own arguments, such as ARGS='-t "HR-12"' or ARGS=test/raft
ARGS ?=

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): package.json package-lock.json
	@command -v npm >/dev/null || { echo "make: npm is not on this machine: install Node.js (any version; the project brings its own Node 26)" >&2; exit 1; }
	@echo "installing the project's packages (npm ci)"
	@# The Go modules of the local Kubernetes come meanwhile; whoever needs them waits for them, or says why they do not come.
	@if command -v go >/dev/null; then (for folder in test/kubernetes/build* test/torture/porcupine; do (cd $$folder && GOFLAGS=-mod=readonly GOTOOLCHAIN=local go list -deps ./... tool); done >/dev/null 2>&1 &) fi
	@npm ci --silent --no-fund --no-audit
	@test -x $(NODE) || npm rebuild --silent node
	@touch $@

demo: $(INSTALLED) ## The whole story on a real Kubernetes: cluster, data, snapshots, disaster, restore (CONTEXT=name uses your own cluster)
	@$(RUN) test/demo/demo.ts --cluster $(CLUSTER) $(if $(CONTEXT),--context $(CONTEXT) --image $(IMAGE))

down: $(INSTALLED) ## Remove all that `demo` and `cluster-up` made (with CONTEXT=name: what the demo made in your own cluster)
	@$(if $(CONTEXT),$(RUN) test/demo/demo.ts --context $(CONTEXT) --down,$(RUN) test/kubernetes/main.ts down --name $(CLUSTER))

test: $(INSTALLED) lint ## Everything: lint, types, generated files, unit, integration and end-to-end tests
	@$(RUN) test/kubernetes/main.ts build etcd kubernetes coredns versitygw helm etcdctl etcdutl
	@$(RUN) test/kubernetes/main.ts etcd-images
	@$(JEST) $(ARGS) --maxWorkers=2

test-unit: $(INSTALLED) ## Tests without any cluster
	@$(JEST) $(ARGS) --maxWorkers=2 --selectProjects unit

test-integration: $(INSTALLED) ## Controllers against a real kube-apiserver (root)
	@$(JEST) $(ARGS) --maxWorkers=2 --selectProjects integration

test-e2e: $(INSTALLED) ## Whole flows on a real node (root)
	@$(JEST) $(ARGS) --runInBand --selectProjects e2e

soak: $(INSTALLED) ## Random operations and faults on real clusters of both engines for MINUTES=10, nothing lost (root; SEED= to repeat a run)
	@$(RUN) test/soak/soak.ts --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

sim: $(INSTALLED) ## Whole clusters simulated, SEEDS=2000 of them or one SEED=, every promise checked at every step
	@$(RUN) test/sim/sim.ts $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

mutants: $(INSTALLED) ## Builds with one rule switched off, and who catches each (ARGS='--only NAME' for one)
	@$(RUN) test/mutants/main.ts $(ARGS)

torture: $(INSTALLED) ## Members as processes under many faults at once for MINUTES=10, every history checked by porcupine (root; SEED= to repeat a round, MEMBERS=3 or 5)
	@$(RUN) test/torture/torture.ts --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(MEMBERS),--members $(MEMBERS)) $(ARGS)

bench: $(INSTALLED) ## Speed and memory as ratios against the real peers, interleaved in one run (root)
	@$(RUN) test/bench/bench.ts $(ARGS)

lint: $(INSTALLED) ## Types, lint, format, and that generated files are up to date
	@$(NODE) node_modules/typescript/bin/tsc -p . || { echo "make lint: the types do not hold (above)" >&2; exit 1; }
	@node_modules/.bin/biome check . || { echo "make lint: run 'make format' for what can be mended by itself" >&2; exit 1; }
	@$(RUN) src/api/generate.ts --check
	@$(RUN) test/house/conformance.ts --check

format: $(INSTALLED) ## Format the sources
	@node_modules/.bin/biome check --write .

generate: $(INSTALLED) ## crds/, the chart's copy of them, the etcd messages and docs/conformance.md, from their sources
	@$(RUN) src/api/generate.ts
	@$(RUN) src/etcd/generate.ts
	@$(RUN) test/house/conformance.ts

dist: $(INSTALLED) ## Bundle src/ into dist/
	@rm -rf dist && $(NODE) esbuild.config.js

image: dist ## Build the image from the Dockerfile and load it into the local Kubernetes CLUSTER (IMAGE=raftsman:dev)
	@$(RUN) test/kubernetes/main.ts image --file Dockerfile --tag $(IMAGE) --name $(CLUSTER)

cluster-up: $(INSTALLED) ## A local Kubernetes: one node, storage, DNS, an S3 server (root); CLUSTER=name for another beside it
	@$(RUN) test/kubernetes/main.ts up --name $(CLUSTER)

cluster-down: $(INSTALLED) ## Remove the local Kubernetes
	@$(RUN) test/kubernetes/main.ts down --name $(CLUSTER)

run: $(INSTALLED) ## The operator on the host against $$KUBECONFIG, with readable logs (members use IMAGE)
	@test -n "$${KUBECONFIG:-}" || { echo "make run: set KUBECONFIG (make cluster-up prints it)" >&2; exit 1; }
	@$$($(RUN) test/kubernetes/main.ts tool kubectl) apply --server-side -f crds/
	@RAFTSMAN_IMAGE=$(IMAGE) bin/raftsman operator --leader-elect=false --log-format text $(ARGS)

.PHONY: help demo down test test-unit test-integration test-e2e soak torture sim mutants bench lint format generate dist image cluster-up cluster-down run
