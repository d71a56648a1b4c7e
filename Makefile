# One command for each habit; `make help` lists them. Everything runs in .venv, which is installed from requirements.lock.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
REPORT := equivcheck-report

.DEFAULT_GOAL := help
.PHONY: help venv run test nightly bench format lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## install the locked dependencies and equivcheck itself into .venv

$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "equivcheck needs Python 3.11 or newer, and $(PYTHON) is not: $$($(PYTHON) --version 2>&1)." \
	    "Name another: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing requirements.lock into $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	@$(PIP) install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The recipe ends with equivcheck's own status: 0 agrees, 1 diverged, 3 inadequate, 4 error, 2 bad input. Make prints it.
run: $(INSTALLED) ## check the built-in series at profile quick; say where the report is
	@status=0; $(BIN)/equivcheck run --out $(REPORT) $(ARGS) || status=$$?; \
	echo "Report: $(CURDIR)/$(REPORT) (equivcheck exit status $$status)"; exit $$status

test: $(INSTALLED) ## all gates; INSTALL=1 (as root) installs the Debian packages that some tests need
	@$(BIN)/python tools/gates.py $(if $(filter-out 0,$(INSTALL)),--install) $(ARGS)

nightly: $(INSTALLED) ## the tests marked nightly and a run at profile nightly
	@$(BIN)/python tools/gates.py --nightly $(ARGS)

bench: $(INSTALLED) ## measure speed; ratios are checked, operations per second reported
	@$(BIN)/python -m benchmarks $(ARGS)

format: $(INSTALLED) ## format, and mend what ruff can mend
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format

lock: ## resolve what pyproject.toml needs into requirements.lock; UPGRADE=1 takes newer versions of all
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(filter-out 0,$(UPGRADE)),--upgrade) \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --group dev pyproject.toml --output-file requirements.lock
	@if grep -n '://' requirements.lock; then echo "requirements.lock must name no host" >&2; exit 1; fi

clean: ## remove what the other targets made
	@rm -rf $(VENV) .venv-lock build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
