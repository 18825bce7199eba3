# One door: people and CI call these targets, and nothing else. `make` lists them.
#   PYTHON=/path/to/python3   the interpreter to use (3.11 to 3.13); found by itself otherwise
#   PIP_ARGS="..."            more arguments for pip, for instance
#       --extra-index-url https://download.pytorch.org/whl/cpu   to have PyTorch without CUDA (2 GB less)
#   JOBS=1                    tests of how many files run at the same time; 2 otherwise
#   SECONDS=600 FUZZ=200      how long `make fuzz` takes: for each parser, and times the usual number of examples
#   ARGS="..."                more arguments for the program that a target runs
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := pyproject.toml constraints.txt tools/venv.sh tools/packages.sh
PYTEST := $(BIN)/python -m pytest
JOBS ?= 2
SECONDS ?= 8
FUZZ ?= 5
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup browser demo test test-jobs test-all check spec fuzz soak soak-cluster soak-keyservice docs bench release clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 17

setup: $(VENV)/.dev compile ## everything a developer needs, in .venv

demo: $(VENV)/.demo compile ## install what the demo needs, and run it
	$(BIN)/cloister demo $(ARGS)

test: setup postgresql swtpm nftables ## all tests but the soak, the benchmarks and what test-jobs runs
	$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not soak and not bench and not jobs" $(ARGS)

test-jobs: setup nftables ## trainings with every framework, whole programs and stories, shielded and not: most of an hour
	$(PYTEST) -m jobs $(ARGS)

test-all: setup postgresql swtpm nftables ## all tests
	$(PYTEST) $(ARGS)

check: setup ## format, lint, types, import layers
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

browser: ## the browser that tests of the key service's page use, from the distribution
	@tools/browser.sh

spec: setup ## vectors regenerate without a difference; every clause has a test
	set -e; for g in docs/spec/vectors/*/generate.py; do [ ! -e "$$g" ] || $(BIN)/python "$$g"; done
	git diff --exit-code -- docs/spec/vectors
	$(PYTEST) --collect-only -qq --require-clauses >/dev/null
	$(PYTEST) -q tests/spec $(ARGS)

fuzz: setup ## every parser under a fuzzer, SECONDS=8 each; then FUZZ=5 times the usual number of examples
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS)
	CLOISTER_FUZZ=$(FUZZ) $(PYTEST) -n $(JOBS) tests/fuzz $(ARGS)

soak: setup ## a volume's server killed 1000 times, an hour of a key service, 200 faults of a cluster
	$(PYTEST) -m soak --timeout 7200 $(ARGS)

soak-cluster: setup ## break a distributed training 200 times, in two hours: it ends right, or with a clear error
	PYTHONPATH=tests $(BIN)/python -m soak.cluster_faults --shielded $(ARGS)

soak-keyservice: $(VENV)/.dev compile ## an hour of a key service in three minutes: is its memory flat?
	$(BIN)/python benchmarks/hour.py --output benchmarks/out $(ARGS)

docs: setup ## links, pages against code, and the commands of README and guide
	$(PYTEST) tests/docs $(ARGS)

bench: $(VENV)/.dev compile ## the table and the plot of benchmarks/out
	$(BIN)/python benchmarks/run.py $(ARGS)

release: check test spec ## the changelog from its fragments, then wheel and sdist in dist/
	git diff --quiet HEAD && $(BIN)/towncrier build --yes && $(BIN)/python -m build $(ARGS)

clean: ## forget the environment and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: compile postgresql swtpm nftables
postgresql: # Tests start a server of their own; without its programs they are skipped.
	@tools/postgresql.sh

swtpm: # A software TPM quotes in some tests; without it they are skipped.
	@tools/swtpm.sh

nftables: # Redirects what workloads with a network connect to; without it those tests are skipped.
	@tools/nftables.sh

compile: # The launcher measures bytecode: it must be there, and current, before anything runs.
	@$(BIN)/python -m compileall -q src

$(VENV)/.demo: $(LOCK)
	@[ -e $(VENV)/.dev ] && [ $(VENV)/.dev -nt constraints.txt ] && [ $(VENV)/.dev -nt pyproject.toml ] || tools/venv.sh $(VENV) demo $(PIP_ARGS)
	@touch $@

$(VENV)/.dev: $(LOCK)
	@tools/venv.sh $(VENV) dev $(PIP_ARGS)
	@touch $@
