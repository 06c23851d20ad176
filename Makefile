# make demo and make test need Python 3.10 or newer, git and make; everything else they fetch into .venv.

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
SLOW := build/slow
WORKERS ?= 2
# The places that the suite writes to for real.
export TESTED_EXTRAS := mysql,oss,postgresql,s3,sftp
# Where tests keep environments that any Python's suite can use, the built wheel's too.
export TEST_ENVIRONMENTS := $(CURDIR)/build
PYTEST := $(BIN)/python -m pytest
SLOW_PYTEST := $(SLOW)/bin/python -m pytest

.PHONY: help demo test slow check lint types coverage wheel bench soak clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    train a small model under start_run() and print the captured context'
	@echo 'make test    run the test suite'
	@echo 'make slow    run the tests that take long or need numpy, torch, Jupyter and Dask, in an environment of their own'
	@echo 'make check   what CI runs: lint, types, coverage, the built wheel on other Pythons'
	@echo 'make bench   time runcontext against its peers'
	@echo 'make soak    the long tests'

$(VENV)/.demo: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'runcontext needs Python 3.10 or newer; name one: make PYTHON=/path/to/python'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.check: $(VENV)/.demo examples/plugin/pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$(TESTED_EXTRAS)]' --editable examples/plugin --group check
	@touch $@

$(SLOW)/.ready: pyproject.toml
	$(PYTHON) -m venv $(SLOW)
	$(SLOW)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(SLOW)/bin/python -m pip install --quiet --editable '.[$(TESTED_EXTRAS)]' --group slow
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python examples/train.py
	@$(BIN)/runcontext show latest

test: $(VENV)/.check
	$(PYTEST) -n $(WORKERS)

slow: $(SLOW)/.ready
	$(SLOW_PYTEST) -n $(WORKERS) -m slow tests

check: lint types coverage wheel

lint: $(VENV)/.check
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.check
	$(BIN)/mypy
	$(BIN)/pyright

coverage: $(VENV)/.check
	$(BIN)/coverage erase
	$(MAKE) test PYTEST='$(BIN)/coverage run -m pytest'
	$(MAKE) slow SLOW_PYTEST='$(SLOW)/bin/coverage run -m pytest'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

wheel: $(VENV)/.check
	$(BIN)/python .ci/built_wheel.py

bench: $(VENV)/.check
	$(BIN)/python benchmarks/bench.py

soak: $(VENV)/.check
	$(PYTEST) -n $(WORKERS) -m 'soak or not soak'

clean:
	rm -rf $(VENV) build dist
