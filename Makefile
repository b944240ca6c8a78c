# make demo    train a small model on real text, write with it, look inside
# make test    the tests
# make check   format, lint, types
# make bench   the benchmarks
#
# Each sets up .venv by itself on a fresh machine, does nothing twice, and needs no network after the first time.
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
WORKERS ?= 2
ARGUMENTS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# The environment belongs to these files, this interpreter and this folder; a change of any of them makes it anew.
KEY := $(shell { cat pyproject.toml constraints.txt; $(PYTHON) --version; pwd; } 2>&1 | cksum | cut -d ' ' -f 1)
RUNTIME := $(VENV)/installed-$(KEY)
DEVELOPMENT := $(VENV)/installed-dev-$(KEY)

.PHONY: demo test check format bench clean
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

bench: $(DEVELOPMENT)
	$(BIN)/python -m benchmarks $(ARGUMENTS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(RUNTIME):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "glassformer needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "setting up $(VENV); the first time this fetches torch and takes minutes"
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@
