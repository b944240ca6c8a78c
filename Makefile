# make demo    train a small model on real text, write with it, look inside
# make test    the tests
# make check   format, lint, types
# make bench   the benchmarks
# make families   docs/families.md, from the tests that compare families with transformers
#
# Each sets up .venv by itself on a fresh machine (the benchmarks, with their peers, .venv-bench), does nothing twice, and
# needs no network after the first time.
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
WORKERS ?= 2
ARGUMENTS ?=

VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PIP := $(BIN)/python $(INSTALL)
# The environment belongs to these files, this interpreter and this folder; a change of any of them makes it anew.
KEY := $(shell { cat pyproject.toml constraints.txt; $(PYTHON) --version; pwd; } 2>&1 | cksum | cut -d ' ' -f 1)
RUNTIME := $(VENV)/installed-$(KEY)
DEVELOPMENT := $(VENV)/installed-dev-$(KEY)
BENCHMARKS := $(BENCH)/installed-$(KEY)

.PHONY: demo test check format families bench clean
.DEFAULT_GOAL := demo

demo: $(RUNTIME)
	$(BIN)/glassformer demo $(ARGUMENTS)

test: $(DEVELOPMENT)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGUMENTS)

check: $(DEVELOPMENT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEVELOPMENT)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

families: $(DEVELOPMENT)
	GLASSFORMER_FAMILIES=docs/families.md $(BIN)/python -m pytest -q -n $(WORKERS) tests/families $(ARGUMENTS)

bench: $(BENCHMARKS)
	$(BENCH)/bin/python -m benchmarks $(ARGUMENTS)

clean:
	rm -rf $(VENV) $(BENCH) .mypy_cache .ruff_cache .pytest_cache

# A new environment in the folder $(1), with the package in it.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "glassformer needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "setting up $(1); the first time this fetches torch and takes minutes"
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python $(INSTALL) hatchling editables
	$(1)/bin/python $(INSTALL) --no-build-isolation --editable .
endef

$(RUNTIME):
	$(call environment,$(VENV))
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

$(BENCHMARKS):
	$(call environment,$(BENCH))
	$(BENCH)/bin/python $(INSTALL) --no-build-isolation --editable '.[bench]'
	@touch $@
