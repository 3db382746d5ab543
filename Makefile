# The README's commands. Each sets up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin

demo: .venv/.ready  ## build replay, score, fine-tune three ways, print the table
	$(BIN)/forgetless demo

test: .venv/.ready .trainers/.ready  ## everything but the test that trains a model from scratch
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/.ready  ## train the demo's model again and check it
	$(BIN)/python -m pytest -m slow

check: .venv/.ready .types  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Links that show a type checker the folders under the name they are installed by.
.types: pyproject.toml
	mkdir -p .types/forgetless
	for folder in schemas curator pipelines train cli; do ln -sfn ../../$$folder .types/forgetless/$$folder; done
	ln -sfn ../../tests/benchmarks .types/forgetless/benchmarks
	touch .types

.venv/.ready: pyproject.toml constraints.txt .ci/setup
	PYTHON=$(PYTHON) .ci/setup

# Other trainers, whose loaders read our exports in the tests; apart, since they ask for other versions than ours.
.trainers/.ready: .ci/trainers.txt | .venv/.ready
	$(BIN)/python -m pip -qq --disable-pip-version-check install --no-deps --upgrade --target .trainers --requirement .ci/trainers.txt
	touch .trainers/.ready

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

.PHONY: demo test test-slow check help
