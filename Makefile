# make demo   finds the duplicates in a collection that it draws itself
# make test   passes every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-crash check bench bench-million clean

demo: $(VENV)/.core
	$(BIN)/dupegrid demo

# Side by side, see decisions/0012; compiled modules are kept, as the tests start many processes.
test: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

test-crash: $(VENV)/.dev
	$(BIN)/python -m tests.crash

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks $(if $(OTHER),beside $(OTHER) $(if $(MILLION),million))

bench-million: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks million

clean:
	rm -rf $(VENV) demo .bench

$(BIN)/python:
	@echo "making $(VENV), which takes half a minute" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "dupegrid needs Python 3.11 or newer: make PYTHON=python3.12 demo" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# .dev holds .core too: an editable install with more beside it.
$(VENV)/.core: pyproject.toml | $(BIN)/python
	test -e $(VENV)/.dev || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
