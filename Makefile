# make demo: set up, then run the whole product on the demo avatar.  make test: set up, then test it.
# Both work in .venv and need no root; a second run finds everything in place.

VENV := .venv
BIN := $(VENV)/bin
# Not quiet: some GB take minutes, and pip's bars show that it goes on.
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test uncovered coverage soak fuzz lint constraints audit sbom clean

help:
	@echo "make setup   set up .venv, and run nothing"
	@echo "make demo    run the whole product on the demo avatar (ARGS='--rtmp rtmp://…' publishes it too)"
	@echo "             (ARGS=--lan lets a phone of this network talk with it)"
	@echo "make test    lint, type-check and test everything"
	@echo "make soak    watch a channel for HOURS=2 with a fault each FAULT_MINUTES=5 (needs nginx with its RTMP module)"
	@echo "make fuzz    send more than 10,000 drawn requests and damaged files, and print what they were answered"
	@echo "make lint    lint and type-check only"
	@echo "make coverage  run those tests that start no server, and print what they cover"
	@echo "make constraints  lock the images' packages with hashes again (ARGS=--upgrade takes newer versions)"
	@echo "make audit   look the images' packages up in PyPI's list of vulnerabilities"
	@echo "make sbom    write build/sbom.json, the images' packages as CycloneDX"
	@echo "make clean   remove the environment, caches and everything that was written to var/"

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	@exec $(BIN)/latentsync-realtime demo $(ARGS)

# Tests wait for streams and for processes more than they compute, so there is one at work more than there are cores.
# Files stay whole; tests/conftest.py has the longest of them come first. What fails in a whole part runs once more, alone.
WORKERS := $(shell n=$$(nproc); echo $$((n < 4 ? n + 1 : 4)))
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python $(if $(strip $(ARGS)),-m pytest,tools/retry_alone.py) \
          --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# In two parts, so that nothing runs twice: watching the lines of all would take a third more processor time.
test: export PASSED_ALONE := $(CURDIR)/build/passed-alone.txt
test: lint
	$(BIN)/latentsync-realtime fetch
	@mkdir -p build && : > "$$PASSED_ALONE"
	@status=0; \
	for part in uncovered coverage; do $(MAKE) --no-print-directory $$part || status=1; done; \
	cat "$$PASSED_ALONE"; \
	exit $$status

COVERED := tests/latentsync tests/processes tests/speech tests/streaming tests/orchestrator/access tests/orchestrator/tasks

uncovered: $(VENV)/.installed-for-tests
	$(PYTEST) $(COVERED:%=--ignore=%) $(ARGS)

# Python 3.12 can watch lines at almost no cost (sys.monitoring); 3.11 can't.
coverage: $(VENV)/.installed-for-tests
	@mkdir -p build
	core=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') && \
	COVERAGE_CORE=$$core $(PYTEST) $(COVERED) --cov $(ARGS)

HOURS ?= 2
FAULT_MINUTES ?= 5
soak: $(VENV)/.installed
	$(BIN)/latentsync-realtime bench stream --duration $$(($(HOURS) * 3600)) --fault-minutes $(FAULT_MINUTES) $(ARGS)

FUZZ_SCALE ?= 40
fuzz: $(VENV)/.installed-for-tests
	FUZZ_SCALE=$(FUZZ_SCALE) FUZZ_RECORD=build/fuzz.md $(BIN)/python -m pytest tests/fuzz $(ARGS)
	@cat build/fuzz.md

lint: $(VENV)/.installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/mypy tools/*.py
	@for model in model_repository/*/1/model.py; do echo "mypy $$model"; $(BIN)/mypy "$$model" || exit 1; done  # all are named model
	$(BIN)/lint-imports --no-cache

constraints: $(VENV)/.installed-for-supply-chain
	tools/lock_requirements.sh $(ARGS)

audit: $(VENV)/.installed-for-supply-chain
	tools/audit.sh

sbom: $(VENV)/.installed-for-supply-chain
	@mkdir -p build
	cat docker/requirements/*.txt > build/requirements.txt
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json build/requirements.txt

# Editable, so that only a change of pyproject.toml asks for another installation.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-for-tests: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-for-supply-chain: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[supply-chain]'
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@tools/check_machine.sh
	@python=$$(tools/find_python.sh) && echo "setting up $(VENV) with $$python, this takes some minutes" && $$python -m venv $(VENV)

clean:
	rm -rf $(VENV) var build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
