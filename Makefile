# Everything a contributor runs. `make` alone lists it; nothing here needs root or a running service.

# The first of these that is 3.11 or newer, can make an environment and has SQLite: the oldest at hand.
# `make PYTHON=python3.13 setup` insists on one.
PYTHON ?= python3.11 python3.12 python3.13 python3.14 python3 python
VENV   := .venv
DEMO   := .venv-demo
BIN    := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup check test demo bench soak docs

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/ready  ## make the environment (.venv) that the other commands use

check: $(VENV)/ready  ## lint, format, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy tenuto tests $(wildcard examples) $(wildcard bench/*.py)
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: $(VENV)/ready  ## every test, on SQLite and PostgreSQL (ARGS="-k claim" for some)
	$(BIN)/python -m pytest $(ARGS)

demo: $(DEMO)/ready  ## a real workflow, live, on SQLite, with the core alone
	$(DEMO)/bin/python examples/stdlib_report.py $(ARGS)

bench: $(VENV)/ready  ## how fast, beside the limit and what else there is (ARGS="--quick": two minutes)
	$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/ready  ## kill -9 at random, again and again (MINUTES= SEED= RUNS= STORE=)
	$(BIN)/python -m tests.soak $(foreach option,MINUTES SEED RUNS STORE,$(call passed_on,$(option)))

docs: $(VENV)/ready  ## the documentation, in docs/_build
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build
	@echo "docs/_build/index.html"

$(VENV)/ready: pyproject.toml
	$(call make_environment,$(VENV))
	@echo "installing tenuto, its extras and the tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

$(DEMO)/ready: pyproject.toml
	$(call make_environment,$(DEMO))
	@echo "installing tenuto, the core alone, into $(DEMO)"
	@$(DEMO)/bin/python -m pip install --quiet --editable .
	@touch $@

# SEED=7 -> --seed 7, and nothing when it is not given.
passed_on = $(if $($(1)),--$(shell echo $(1) | tr A-Z a-z) $($(1)))

# Make the environment $(1), unless it is there and sound; or say in one line what is missing.
define make_environment
@sound='import sys; sys.exit(sys.version_info < (3, 11))'; \
$(1)/bin/python -c "$$sound" 2>/dev/null && exit 0; \
missing='Python 3.11 or newer (looked for: $(PYTHON))'; \
for python in $(PYTHON); do \
	$$python -c "$$sound" 2>/dev/null || continue; \
	$$python -c 'import sqlite3' 2>/dev/null || { missing="the sqlite3 module of $$python"; continue; }; \
	$$python -c 'import venv, ensurepip' 2>/dev/null || \
		{ missing="the venv module of $$python (on Debian and Ubuntu: apt install $$python-venv)"; continue; }; \
	echo "making $(1) with $$python"; \
	exec $$python -m venv --clear $(1); \
done; \
echo "missing: $$missing" >&2; exit 1
endef
