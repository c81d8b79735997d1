# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
HOST ?= 127.0.0.1
PORT ?= 8000

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev services run test lint fix docs golden bench train clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed ($$($(PYTHON) --version) found); name another with: make PYTHON=python3.12 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and pinned: without the pin an extra can pull another build of it.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.runtime
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

setup: $(VENV)/.runtime  ## Install what the service needs into .venv

setup-dev: $(VENV)/.runtime $(VENV)/.dev

# The tests drive a real Chromium and a real PostgreSQL; where one cannot be installed its tests are skipped and say so.
services:  ## Install Chromium and PostgreSQL for the tests (Debian, as root)
	@missing=; \
	{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || missing=chromium; \
	{ command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } || \
	  echo "Not installed: $$missing. The tests that need it will be skipped."; \
	else echo "Not found: $$missing. The tests that need it will be skipped (Debian: apt-get install $$missing)."; fi

run: setup  ## Start the service and the web form (PORT=8000 HOST=127.0.0.1)
	@$(BIN)/grader serve --host $(HOST) --port $(PORT)

test: setup setup-dev services  ## Run all tests
	$(BIN)/python -m pytest

lint: setup setup-dev  ## Check style, types, layers and generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m api.docs --check

fix: setup setup-dev  ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup setup-dev  ## Write the generated documents anew
	$(BIN)/python -m api.docs

golden: setup  ## Grade the bank's samples; BASELINE=1 accepts how they do now
	$(BIN)/grader bank test reference_answers/pytorch $(if $(BASELINE),--update-baseline)

bench: setup setup-dev  ## Measure speed, in ratios, on this machine
	$(BIN)/python -m benchmarks.speed

train: setup setup-dev  ## Fit the calibration on the graded answers
	$(BIN)/python -m training.fit_calibration

clean:  ## Remove what was installed and cached here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
