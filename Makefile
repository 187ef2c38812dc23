# Every target creates and fills .venv first; that costs nothing while the stamp is newer than what it was made from.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TESTS  ?= tests
TRIALS ?= 300
SECONDS ?= 120
MINUTES ?= 120
EXAMPLES ?= 150
URL ?= http://127.0.0.1:8080
PYTEST_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test torture lint docs bench oversell overload soak paint pictures schema fuzz lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv with the locked versions

# Two steps. First everything but torch, exact and by hash. Then this package with its extra `batch`: that adds torch
# alone, in the build (CPU or CUDA) that the machine's own pip configuration offers within the range of pyproject.toml.
$(STAMP): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "perennial needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-build-isolation --config-settings editable_mode=compat -e '.[batch]'
	$(BIN)/python -m pip check
	@touch $@

demo: $(STAMP)  ## from nothing to a running service that learns; ends by itself without a terminal
	$(BIN)/perennial demo

test: $(STAMP)  ## all tests; TESTS=path and PYTEST_ARGS='-k word' narrow them
	$(BIN)/python -m pytest $(TESTS) $(PYTEST_ARGS)

torture: $(STAMP)  ## the long fault tests: random cases, spoilt snapshots, power cuts, kills, acts under load; hours; TRIALS=n
	PERENNIAL_EXAMPLES=200 PERENNIAL_MUTATIONS=5000 $(BIN)/python -m pytest -q -s --timeout=0 tests/online/test_lineage.py tests/online/test_erasure.py tests/online/test_snapshot.py
	$(BIN)/python -m tests.faults.torture --trials $(TRIALS)

lint: $(STAMP)  ## ruff (rules and format), mypy (strict on online/ and api/), import direction, no unpickling, exact arithmetic
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

docs: $(STAMP)  ## the reference of calls, commands, errors, metrics and settings, out of the code, into build/docs
	$(BIN)/python -m api.documentation build/docs

bench: $(VENV)/.installed-bench  ## every measurement of benchmarks/, one after the other; peers too with INTERACTIONS=FILE
	@for script in benchmarks/*.py; do \
	  echo "== $$script"; \
	  $(BIN)/python "$$script"; \
	done
	@for part in peers peers.ladder; do \
	  echo "== benchmarks.$$part"; \
	  $(BIN)/python -m benchmarks.$$part $(if $(INTERACTIONS),--interactions $(INTERACTIONS)); \
	done

$(VENV)/.installed-bench: $(STAMP) benchmarks/peers/requirements.txt
	$(BIN)/python -m pip install --quiet -r benchmarks/peers/requirements.txt
	@touch $@

oversell: $(STAMP)  ## 300 crowds on few seats, with crashes: none sold twice, none lost
	PERENNIAL_OVERSELL_ROUNDS=300 $(BIN)/python -m pytest -q -s tests/online/pricing/test_oversell.py

schema: $(STAMP)  ## made-up requests by schemathesis to the whole API, with and without keys; EXAMPLES=n for each operation
	PERENNIAL_SCHEMA_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q -s --timeout 7200 tests/api/test_hostile.py

overload: $(STAMP)  ## five times as much as it can answer, for SECONDS (120): goodput, what is refused, that nothing is lost
	$(BIN)/python benchmarks/overload.py --seconds $(SECONDS)

soak: $(STAMP)  ## half of what it can answer for MINUTES (120), with rollbacks, kills, snapshots: memory, what is kept
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

fuzz: $(STAMP)  ## 1,000,000 fares under made-up rules: none outside them
	PERENNIAL_FUZZ_FARES=1000000 $(BIN)/python -m pytest -q tests/online/pricing/test_rules.py

paint: $(STAMP)  ## first paint of every view with 1,000,000 decisions and 10,000 snapshots; needs Chromium
	$(BIN)/python benchmarks/first_paint.py

pictures: $(STAMP)  ## the dashboard's pictures in docs/, of the service at URL (that of `make demo`); needs Chromium
	$(BIN)/python -m tests.api.pictures --url $(URL)

lock: $(STAMP)  ## resolve requirements.lock and requirements-dev.lock anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' pyproject.toml requirements.in -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' --extra dev -c requirements.lock \
	  pyproject.toml requirements.in -o requirements-dev.lock

clean:  ## remove what the targets made, .venv too
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
