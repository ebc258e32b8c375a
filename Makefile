# make demo: set up, then run the whole product on the demo avatar.  make test: set up, then test it.
# Both work in .venv and need no root; a second run finds everything in place.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak fuzz lint clean

help:
	@echo "make setup   set up .venv, and run nothing"
	@echo "make demo    run the whole product on the demo avatar (ARGS='--rtmp rtmp://…' publishes it too)"
	@echo "make test    lint, type-check and test everything"
	@echo "make soak    watch a channel for HOURS=4 with faults all along (needs nginx with its RTMP module)"
	@echo "make fuzz    send more than 10,000 drawn requests and damaged files, and print what they were answered"
	@echo "make lint    lint and type-check only"
	@echo "make clean   remove the environment, caches and everything that was written to var/"

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	@exec $(BIN)/latentsync-realtime demo $(ARGS)

test: lint
	$(BIN)/latentsync-realtime fetch
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

HOURS ?= 4
soak: $(VENV)/.installed
	$(BIN)/latentsync-realtime bench stream --duration $$(($(HOURS) * 3600)) $(ARGS)

FUZZ_SCALE ?= 40
fuzz: $(VENV)/.installed-for-tests
	FUZZ_SCALE=$(FUZZ_SCALE) FUZZ_RECORD=build/fuzz.md $(BIN)/python -m pytest tests/fuzz $(ARGS)
	@cat build/fuzz.md

lint: $(VENV)/.installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	@for model in model_repository/*/1/model.py; do echo "mypy $$model"; $(BIN)/mypy "$$model" || exit 1; done  # all are named model
	$(BIN)/lint-imports --no-cache

# Editable, so that only a change of pyproject.toml asks for another installation.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-for-tests: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@python=$$(tools/find_python.sh) && echo "setting up $(VENV) with $$python, this takes some minutes" && $$python -m venv $(VENV)

clean:
	rm -rf $(VENV) var build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
