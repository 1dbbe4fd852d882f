# `make demo` and `make test` do everything on a fresh machine: they make a virtual environment and install into it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint format bench clean

demo: $(VENV)/installed  ## find objects in a built-in picture with built-in weights
	$(BIN)/cvtl run detect --save-images

test: $(VENV)/installed-dev  ## run the tests, on as many cores as there are
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Without ruff's cache, which does not notice that a new file changes how another one's imports are sorted.
lint: $(VENV)/installed-dev  ## check style and types
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy cvtl plugins datasets

format: $(VENV)/installed-dev  ## bring the code into the agreed form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed-dev  ## measure; docs/performance.md keeps the tables
	for script in tools/bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:  ## take away what these commands made, the virtual environment too
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("cvtl needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt $(VENV)/bin/python
	@echo "Installing cvtl; torch and what it needs are large, so the first time takes some minutes."
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP_INSTALL) --editable '.[dev]'
	# Without what it asks for: its headless OpenCV would overwrite ours.
	$(PIP_INSTALL) --no-deps albumentations albucore stringzilla simsimd
	@touch $@
