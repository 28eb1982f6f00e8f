# The commands of chatd. `make run` and `make test` work on a fresh machine with Python >= 3.11 and make.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run check test fuzz fast format clean cassandra cluster

help:
	@echo "make run      start chatd with config.toml and its page on http://127.0.0.1:8000"
	@echo "make check    format, lint, types and fast tests: the one command while working"
	@echo "make test     every test, with a real browser and Redis (installed by apt where missing, if you are root)"
	@echo "make fuzz     ask a node everything that its OpenAPI allows, for some minutes"
	@echo "make cassandra  start one node of Cassandra on 127.0.0.1:9042, for trying (docs/howto/try-cassandra.md)"
	@echo "make cluster  start Redis, Cassandra and three nodes behind http://127.0.0.1:8000 (docs/howto/run-a-cluster.md)"
	@echo "make format   write the code in its one format"
	@echo "make clean    remove the virtual environment and caches; var/ (your data) stays"

run: .venv/run
	$(BIN)/chatd serve --config config.toml

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -m "not system and not browser"

fast: .venv/dev
	$(BIN)/pytest -q -m "not system and not browser"

test: .venv/dev
	tests/install-services
	$(BIN)/pytest

fuzz: .venv/dev
	FUZZ_EXAMPLES=100 $(BIN)/pytest -q tests/system/test_fuzz.py

cassandra:
	$(PYTHON) -m deploy.local.cassandra start

cluster: .venv/cluster
	$(BIN)/python -m deploy.local.cluster

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What is installed is pinned in constraints.txt; the stamp files tell make when it must be done again.
.venv/run: pyproject.toml constraints.txt protocol/_hot.c
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/cluster: .venv/run
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[redis,cassandra]"
	touch $@

.venv/dev: pyproject.toml constraints.txt protocol/_hot.c
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,bench,redis,cassandra]"
	touch $@ .venv/run
