# SPHERE's commands. `make` alone lists them; CI calls the same ones.

CARGO ?= cargo
# Arguments for the program behind a target: make demo ARGS="--help"
ARGS ?=
# Right after rustup was installed, its folder is not in PATH yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-pipeline controlplane e2e generate schemas smoke chart manifests image audit clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build the release binary and show what SPHERE does, without a cluster
	@scripts/setup.sh
	$(CARGO) run --release --locked --package sphere -- demo $(ARGS)

test: ## Run all tests, on a real Kafka, Redis and Prometheus that they start themselves
	@scripts/setup.sh kafka redis prometheus clock
	$(CARGO) test --workspace --locked

check: ## Format, lints, documentation, licences, dependency direction
	@scripts/setup.sh deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	$(CARGO) deny --locked check --hide-inclusion-graph --allow unused-wrapper bans licenses sources
	scripts/check-pure.sh

bench: ## Measure this machine: prints one JSON object on stdout
	@scripts/setup.sh venv
	@scripts/bench.py

bench-pipeline: ## Measure the pipeline on a Kafka and a Redis it starts: one JSON object on stdout
	@scripts/setup.sh kafka redis
	$(CARGO) build --release --locked --package sphere
	@$(CARGO) run --quiet --locked --package sphere-testkit --example with_services -- \
		$${CARGO_TARGET_DIR:-target}/release/sphere bench pipeline --output json $(ARGS)

controlplane: ## Build and run a Kubernetes control plane in the foreground, for tests and by hand (needs Go)
	@scripts/setup.sh go
	@scripts/controlplane.sh run $(ARGS)

e2e: ## Test the operator on a Kubernetes control plane that it starts (needs Go; ARGS picks tests by name)
	@scripts/setup.sh go
	@scripts/e2e.sh $(ARGS)

generate: ## Write the generated files (contracts, definition of the Kubernetes resource) anew
	@scripts/setup.sh
	@# Of the workspace, as in `make test`: of single packages, dependencies would be built anew with fewer features.
	UPDATE_CONTRACTS=1 $(CARGO) test --locked --workspace --test contracts --test definition

schemas: generate ## Same as generate

smoke: ## Use the command line as a user would, mistakes included
	@scripts/setup.sh python
	$(CARGO) build --release --locked --package sphere
	scripts/smoke.sh

chart: ## Check the Helm chart: values, rendered objects, rights, what must be refused
	@scripts/setup.sh helm prometheus
	$(CARGO) build --release --locked --package sphere
	scripts/chart-check.sh

manifests: ## Write what is made from the Helm chart (plain manifests, schema of values, tables) anew
	@scripts/setup.sh helm
	scripts/render-manifests.sh

image: ## Build the container image localhost/sphere from the release binary
	@scripts/setup.sh buildah
	$(CARGO) build --release --locked --package sphere
	scripts/image.sh

audit: ## Look for known vulnerabilities in dependencies (needs a network)
	@scripts/setup.sh deny
	$(CARGO) deny --locked check advisories

clean: ## Delete everything that was built
	$(CARGO) clean
