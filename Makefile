# make demo   finds the duplicates in a collection that it draws itself
# make test   passes every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

LOWEST := .venv-lowest
DOCS := .venv-docs
# What uses every library, for environments that differ in these.
WITH_ALL := $(addprefix tests/,$(addsuffix .py,app/test_api app/test_cli app/test_review core/test_loops core/test_runtime \
	images/test_thumbnail pairs/test_features pairs/test_kernel results/test_clusters storage/test_store whole/test_exact))

.PHONY: demo test test-crash test-apply test-cluster test-lowest test-pythons check
.PHONY: bench bench-million bench-kinds dist packages docs clean

demo: $(VENV)/.core
	$(BIN)/dupegrid demo

# Side by side, see decisions/0012; compiled modules are kept, as the tests start many processes, and threads of
# OpenBLAS wait asleep: what they compute here is small, and a busy wait takes a core from others.
test: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= OPENBLAS_THREAD_TIMEOUT=4 $(BIN)/python -m pytest -n $$(($$(nproc) + 2)) --maxprocesses 5 --dist worksteal

test-crash: $(VENV)/.dev
	$(BIN)/python -m tests.helpers.crash
	DUPEGRID_KILLS=20 DUPEGRID_LONG=1 $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/whole/test_bucket.py tests/whole/test_incremental.py tests/whole/test_resume.py tests/images/test_layout.py

# apply and undo: killed at every call and at random moments, and 1,000 collections that live.
test-apply: $(VENV)/.dev
	DUPEGRID_LONG=1 $(BIN)/python -m pytest -s -o faulthandler_timeout=0 tests/plans

test-cluster: $(VENV)/.dev
	DUPEGRID_LONG=1 $(BIN)/python -m pytest -s -o faulthandler_timeout=0 tests/whole/test_cluster_runs.py

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest $(WITH_ALL)

test-pythons: packages
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tests.installed dist 3.12 3.13

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks $(if $(OTHER),beside $(OTHER) $(if $(MILLION),million))

bench-million: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks million

bench-kinds: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks kinds

dist: packages
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tests.installed dist

packages: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build

# mkdocs-material 9.7 warns of the mkdocs to come, which is of no use here.
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(LOWEST) $(DOCS) demo dist site .bench

$(BIN)/python:
	@echo "making $(VENV), which takes half a minute" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "dupegrid needs Python 3.11 or newer: make PYTHON=python3.12 demo" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# .dev holds .core too: an editable install with more beside it.
$(VENV)/.core: pyproject.toml | $(BIN)/python
	test -e $(VENV)/.dev || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	touch $@

$(LOWEST)/.installed: pyproject.toml tests/lowest.py
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) -m tests.lowest > $(LOWEST)/constraints.txt
	PIP_CONSTRAINT=$(LOWEST)/constraints.txt $(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --editable . hypothesis numba pandas pytest xarray
	touch $@

$(DOCS)/.installed: pyproject.toml
	test -e $(DOCS) || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@
