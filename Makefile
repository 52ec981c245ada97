# make run    the proxy with TLS and a cache before a small bundled origin
# make test   lint, types and every test
# make bench  nginx and the proxy side by side (needs nginx and wrk)
# make bench-zone  a zone of a million entries, an object of 5 GB (the same; 12 GB of disk)
# make conformance  the public suite of cache tests (needs node and npm)
#
# Each target makes what it needs: a .venv beside this file, with the
# dependencies in it. Python 3.10 or later is all that must be there.

VENV ?= .venv
BIN := $(VENV)/bin
HTTPS_PORT ?= 8443
HTTP_PORT ?= 8080
BENCH_ARGS ?=
BENCH_ZONE_ARGS ?=
CONFORMANCE_ARGS ?= --write
PYTEST_ARGS ?=

# The first interpreter that is new enough; override with make PYTHON=...
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do \
	"$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)

.PHONY: run test lint types check bench bench-zone conformance wheel clean

run: $(VENV)/.runtime
	@$(BIN)/python examples/demo/run.py --https-port $(HTTPS_PORT) --http-port $(HTTP_PORT)

test: lint types check

lint: $(VENV)/.test
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy --strict cacheproxy

check: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

bench-zone: $(VENV)/.test
	$(BIN)/python -m benchmarks.zone $(BENCH_ZONE_ARGS)

conformance: $(VENV)/.test
	$(BIN)/python -m benchmarks.conformance.run $(CONFORMANCE_ARGS)

wheel: $(VENV)/.runtime
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "Python 3.10 or later with its venv module is needed (Debian: apt install python3-venv);" \
		"name it with make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(VENV)/.runtime $@

clean:
	rm -rf build dist *.egg-info .run
