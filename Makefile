# make demo, make test: both work in a fresh clone and do all the set-up that they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: help setup demo fix test test-fast test-lowest test-slurm torture torture-slurm check ui real evidence-check

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(VENV)/.complete ## a virtual environment with the pinned packages, in .venv

$(VENV)/.complete: requirements.lock pyproject.toml
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "VILLS needs Python 3.11 or newer")'
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip uv
	# uv takes a sixth of pip's time, and does not read pip's settings: behind a mirror pip does it
	$(VENV)/bin/python -m uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python --require-hashes --requirement requirements.lock \
	  || $(VENV)/bin/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(VENV)/bin/python -m uv pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	touch $@

# The stages after pre-training are independent: two models at a time, the longest first, each with all
# its evaluations. `dvc commit` records them together in dvc.lock.
define AFTER_PRETRAINING
finetune@mars evaluate@mars evaluate@prid2011 evaluate@sigset
finetune@market1501 evaluate@market1501 evaluate@ltcc
finetune@prcc evaluate@prcc
finetune@market1501_20 evaluate@market1501_20
endef
export AFTER_PRETRAINING

demo: setup ## the whole DAG on the embedded world, then its score table (10 minutes, 2 cores)
	dvc repro check pretrain
	@printf '%s\n' "$$AFTER_PRETRAINING" | xargs -P 2 -L 1 vills run
	dvc commit --force $$AFTER_PRETRAINING
	dvc repro
	@vills scores
	@echo "report: $(CURDIR)/report/index.html"

# three processes on two cores: many tests wait for other processes
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder
test: setup ## all tests but those on SLURM (20 minutes, 2 cores); VILLS_REAL_DATA=/path adds those on real inputs
	python -m pytest $(PARALLEL) -m "not slurm" --cov --cov-report=

FAST := -m "not slow and not slurm and not browser and not real"
test-fast: setup ## the fast tests: without slow ones and those that need a browser, SLURM or real inputs
	python -m pytest $(PARALLEL) -q $(FAST)

test-slurm: setup ## tests on a real two-node SLURM on this machine, as root (10 minutes, 2 cores)
	python -m pytest -m "slurm and not torture" tests/slurm tests/runner/launch

test-lowest: ## the fast tests with the oldest direct dependencies that pyproject.toml allows; not in CI
	python3 -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip compile --quiet --python .venv-lowest/bin/python --resolution lowest-direct --extra dev \
	  --output-file .venv-lowest/requirements.txt pyproject.toml
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --requirement .venv-lowest/requirements.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --no-deps --editable .
	PATH=$(CURDIR)/.venv-lowest/bin:$$PATH python -m pytest $(PARALLEL) -q $(FAST) -W default

torture: setup ## kills, damages and bad inputs at random, not in CI (an hour, 2 cores); SEED=1, CASE=kill-0042
	python -m tests.torture

torture-slurm: setup ## hard failures on the same SLURM, not in CI (20 minutes, 2 cores)
	python -m pytest -m torture -s tests/slurm

fix: setup ## correct what a tool can: style and order of imports
	ruff check --fix .
	ruff format .

check: setup ## style, types, layers, spelling
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	@if command -v shellcheck >/dev/null; then echo shellcheck -x slurm/*.sh; shellcheck -x slurm/*.sh; \
	else echo "shellcheck is not installed: slurm/*.sh are not checked"; fi
	codespell vills sweeps slurm tests benchmarks docs README.md CONTRIBUTING.md LOG.md

ui: setup ## the MLflow UI on 127.0.0.1:5000
	vills ui

real: setup ## the DAG on real inputs, in a copy of the project: make real VILLS_REAL_DATA=/path
	bash tests/real/run.sh

evidence-check: setup ## does pre-training help? one seed, all stages (10 minutes, 2 cores); CONTROL=shuffled: must not help
	@bash tests/evidence/run.sh
