# SPDX-License-Identifier: GPL-3.0-or-later
# make run     fine-tune and serve a tiny model on the local cloud, from nothing
# make test    everything that guards the project; make unit is its quick part
# make soak    the long tests: recoveries that wait for a clock, mutants, make bench and make chaos
# make chaos   cut runs at random, for an hour or two, and write docs/reliability.md
# make bench   measure the inventory of 10,000 nodes, and write docs/performance.md
# make fit     compile the training step for the TPUs, and write the table of what fits; FIT_ARGS="--first 5"
# make clean   tear the run and the local cloud down
SHELL := /bin/sh
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Ansible refuses to start under a locale that is not UTF-8.
export LC_ALL := C.UTF-8
# Python keeps what it has compiled, also where the environment forbids it, as container images like to do.
# Else each playbook that a test starts compiles Ansible anew.
unexport PYTHONDONTWRITEBYTECODE

ANSIBLE_ARGS ?=

CHAOS_ARGS ?=

BENCH_ARGS ?=

FIT_ARGS ?=

.PHONY: help run up deps system-packages test-packages clean distclean soak chaos bench fit
.PHONY: test lint unit compatible sanity contract machines recovery molecule e2e cuts damage compile

help: ## Show the targets.
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: up ## From nothing to a served, fine-tuned model on the local cloud.
	ansible-playbook -i inventories/local site.yml $(ANSIBLE_ARGS)

up: system-packages deps ## Start the local cloud.
	python -m localcloud up

clean: ## Tear the run and the local cloud down.
	@if [ -x $(BIN)/python ]; then python -m localcloud down; fi

distclean: clean ## Remove what make installed into the tree as well.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build

deps: $(VENV)/.installed ## Make the virtual environment.

# uv installs in seconds what pip installs in minutes.
$(VENV)/.installed: pyproject.toml
	@python=$$(scripts/find-python) && $$python -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r pyproject.toml --group dev
	@touch $@

system-packages: ## Install what the local cloud needs from Debian or Ubuntu.
	@scripts/install-system-packages

test-packages: ## Install what the tests need beyond that: a kernel in which root may do everything.
	@scripts/install-system-packages user-mode-linux

test: test-packages deps ## Everything that guards the project.
	python -m tests.run

unit: deps ## The unit tests: about a minute on two idle cores.
	python -m tests.run $@

lint: deps ## What ruff, mypy and Ansible's linters say: about two minutes.
	python -m tests.run $@

# One stage of make test by itself.
compatible sanity contract machines recovery molecule e2e cuts damage compile: test-packages deps
	python -m tests.run $@

soak: test-packages deps ## The long tests: two to three hours. Writes docs/reliability.md and docs/performance.md.
	python -m tests.run soak

chaos: system-packages deps ## Cut runs of the whole pipeline at random: an hour or two. Writes docs/reliability.md.
	python -m tests.chaos $(CHAOS_ARGS)

bench: deps ## Measure the inventory of 10,000 nodes: ten minutes. Writes docs/performance.md.
	python -m bench.inventory $(BENCH_ARGS)

fit: deps ## Compile the training step for the TPUs: a minute or two a row, many hours in all. Goes on where it was stopped.
	python scripts/compile_fit.py $(FIT_ARGS)
	python scripts/write_accelerators.py
