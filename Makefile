# The commands of development. Everything happens in .venv, which is made on first use; a step is
# repeated only if its sources have changed.
#
#   PYTHON=python3.12 make test     another interpreter for a new .venv
#   make test ARGS="-k gemm -x"     arguments for pytest, also for run and bench

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMPS := $(VENV)/stamps
CORE := $(shell find csrc -type f 2>/dev/null)
C_FILES = $(shell find csrc tests/c benchmarks -name '*.[ch]' 2>/dev/null)
PY_DIRS = $(wildcard setup.py evoprune tests benchmarks experiments examples notebooks docs tools)
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run build test fuzz check analyze bench peers wheel docs fmt clean

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(STAMPS)/native  ## train the paper's network on MNIST; model, history and plots in run/
	$(BIN)/evoprune train mnist --out run/ --force $(ARGS)

build: $(STAMPS)/build  ## compile the core, install the package into .venv, editable

test: $(STAMPS)/build $(STAMPS)/test  ## the whole suite
	@$(BIN)/python -m pytest $(ARGS)

fuzz: $(STAMPS)/build $(STAMPS)/test  ## random calls and mutated files under sanitizers; ARGS="--hours 8", "--calls 1000000 --seed 7"
	PYTHONPATH=.:tests $(BIN)/python -m fuzz --sanitize $(ARGS)

check: $(STAMPS)/dev  ## format, lint, types, and a build in which warnings are errors
	$(BIN)/ruff format --check $(PY_DIRS)
	$(BIN)/ruff check $(PY_DIRS)
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	EVOPRUNE_WERROR=1 $(BIN)/python setup.py -q build_ext --inplace
	@touch $(STAMPS)/build
	$(BIN)/python tools/make_stubs.py --check
	$(BIN)/mypy

# Leaks are left to the tests: it takes pointers kept in arrays for lost ones.
analyze: $(STAMPS)/dev  ## the compiler's path-sensitive analysis of the core; slow, so not in check
	@for file in $$(find csrc -name '*.c' ! -path 'csrc/python/*'); do \
	    echo $$file; \
	    $(CC) -std=c11 -O1 -fanalyzer -Wno-analyzer-malloc-leak -Wno-psabi -Werror -DEP_CHECK=1 -Icsrc \
	        -c $$file -o /dev/null || exit 1; \
	done

bench: $(STAMPS)/build  ## every benchmark, into benchmarks/results/
	@for file in benchmarks/bench_*.py; do \
	    echo "== $$file"; \
	    $(BIN)/python $$file $(ARGS) || exit 1; \
	done

peers: .peers/ready  ## what benchmarks compare with (PyTorch, JAX, ...), into .peers

wheel: $(STAMPS)/wheel  ## a wheel that may be uploaded, in wheelhouse/, and its checks
	rm -rf build/wheel && $(BIN)/python -m build --outdir build/wheel
	case "$$(uname -s)" in \
	Linux) PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir wheelhouse build/wheel/*.whl ;; \
	*) mkdir -p wheelhouse && cp build/wheel/*.whl wheelhouse/ ;; \
	esac
	$(BIN)/abi3audit --strict --summary wheelhouse/*.whl
	$(BIN)/twine check --strict wheelhouse/*.whl build/wheel/*.tar.gz

docs: $(STAMPS)/build $(STAMPS)/docs  ## the site, in docs/_build/html
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

fmt: $(STAMPS)/dev  ## format everything
	$(BIN)/ruff format $(PY_DIRS)
	$(BIN)/ruff check --fix-only $(PY_DIRS)
	$(BIN)/clang-format -i $(C_FILES)

clean:  ## remove what was built; .venv stays (rm -r .venv)
	rm -rf build dist docs/_build *.egg-info evoprune/core/*.so
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	rm -f $(STAMPS)/build $(STAMPS)/native
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The package is installed without its core, which pip would compile in a folder that it throws away;
# `build` then compiles it in place, object by object.
$(STAMPS)/venv: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python 3.11 or later is needed; name one: make PYTHON=python3.12 ...")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install 'setuptools>=77' 'numpy>=2'
	EVOPRUNE_VARIANTS=none $(PIP) install --no-build-isolation -e .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/build: $(STAMPS)/venv setup.py $(CORE)
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@ $(STAMPS)/native

# What `make run` needs: only the variants that this processor uses.
$(STAMPS)/native: $(STAMPS)/venv setup.py $(CORE)
	EVOPRUNE_VARIANTS=native $(BIN)/python setup.py -q build_ext --inplace
	@touch $@

# Extras go onto the editable installation: one stamp for each.
$(STAMPS)/test $(STAMPS)/dev $(STAMPS)/docs $(STAMPS)/wheel: $(STAMPS)/%: $(STAMPS)/venv
	EVOPRUNE_VARIANTS=none $(PIP) install --no-build-isolation -e '.[$*]'
	@touch $@

.peers/ready: benchmarks/peers.txt
	$(PYTHON) -m venv --clear .peers
	.peers/bin/python -m pip --disable-pip-version-check --quiet install -r benchmarks/peers.txt
	@touch $@
