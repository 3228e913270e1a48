# Two commands for a newcomer: `make demo` and `make test`. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check lint types contracts bench soak mutations docs lock clean

setup: .venv/.ready

.venv/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/mining-hub demo

test: setup
	$(BIN)/python -m pytest -q -n 3

check: lint types contracts test

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks

soak: setup mutations
	MINING_HUB_SOAK=1 $(BIN)/python -m pytest -q -n 3

# Single changes that hurt are made in a copy, one after the other; the near tests have to notice each.
mutations: setup
	$(BIN)/python -m tests.architecture.mutations

docs: setup
	$(BIN)/sphinx-build -q -W -b html docs docs/_build/html

# The lock names versions and hashes only; it carries no index address.
lock:
	uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate requirements/run.in -o requirements/run.txt
	uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate requirements/dev.in -o requirements/dev.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis docs/_build dist
