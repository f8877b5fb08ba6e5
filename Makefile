# Two commands: `make demo` runs the main job, `make test` passes the tests. Both set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-long lint format clean

demo: $(VENV)/.run-ready
	$(BIN)/emoscope demo

# Two test processes with one thread each: the tests' tensors are too small to share among threads.
PYTEST := OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

CHECKS := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy

# The checks of `make lint` take what the tests leave of the cores; what they say comes last.
test: $(VENV)/.test-ready
	@nice -n 10 sh -c "$(CHECKS)" > $(VENV)/lint.txt 2>&1 & checks=$$!; \
	$(PYTEST); tests=$$?; \
	wait $$checks; linted=$$?; cat $(VENV)/lint.txt; test $$tests -eq 0 -a $$linted -eq 0

# What takes too long for every change.
test-long: $(VENV)/.test-ready
	$(PYTEST) -m long tests

lint: $(VENV)/.test-ready
	$(CHECKS)

format: $(VENV)/.test-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing emoscope and what it needs (a few minutes the first time) ..."
	$(PIP) -e .
	touch $@

$(VENV)/.test-ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing emoscope, what it needs and what its tests need ..."
	$(PIP) -e ".[test]"
	touch $@ $(VENV)/.run-ready
