# Every target sets up .venv from requirements.txt first; nothing else needs to be installed but
# Python 3.11 with its venv module. BUILD.md says how it works.

# The first of these that is Python 3.11 is used, for example: make PYTHON=/opt/python3.11/bin/python
PYTHON ?= python3.11 python3 python
# What to add to the command line of the tool, for example: make run ARGS="--preset paper"
ARGS ?=
# Processes that share the tests. Each loads TensorFlow and TFX: 2 cores and 3 GiB are well used.
PROCESSES ?= 2

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run serve test faults test-slow fuzz lint docs bench lock setup clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

run: setup ## simulated logs in; pushed model, report and one ranked slate out (to easq_run/)
	$(BIN)/easq run $(ARGS)

serve: setup ## serve the models that `make run` pushed, on loopback
	$(BIN)/easq serve --model_name=easq --model_base_path="$(CURDIR)/easq_run/serving_model/easq" $(ARGS)

test: lint ## lint, and every test that does not take minutes
	$(BIN)/pytest -m "not slow" -n $(PROCESSES) --dist loadfile $(ARGS)

faults: setup ## break everything on purpose: kills, full and failing disks, damaged files (20 minutes)
	$(BIN)/pytest tests/faults tests/pipeline/online/test_kills.py $(ARGS)

test-slow: setup ## the tests that take minutes
	$(BIN)/pytest -m slow $(ARGS)

fuzz: setup ## 10,000 mutated logs and dataset configs: refused by name, or every row accounted for
	$(BIN)/python -m tests.pipeline.logs.fuzz $(ARGS)

lint: setup ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: setup ## build the documentation site into site/, every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)
	@echo "Open site/index.html"

bench: setup ## measure the hot paths against their peers into OUT (bench_results/)
	$(BIN)/python benchmarks/suite.py --out $(or $(OUT),bench_results) $(ARGS)

lock: setup ## write requirements.txt anew from pyproject.toml (UPGRADE=1: newest versions)
	UPGRADE=$(UPGRADE) $(BIN)/python -m environment.lock

setup: ## set up .venv, where that is not done
	@for python in $(PYTHON); do \
	    if $$python -E -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' \
	        2>/dev/null; then exec $$python -E -m environment.install; fi; \
	done; \
	echo 'set-up: no Python 3.11 with venv found as: $(PYTHON). Install it (Debian 12:' >&2; \
	echo 'apt-get install python3-venv), or say where it is: make PYTHON=/path/to/python3.11' >&2; \
	exit 1

clean: ## delete .venv, caches and built packages; runs are kept
	rm -rf .venv dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} +
