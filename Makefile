# Set-up and the main jobs. `make demo` and `make test` are all that a fresh machine needs.
#
#   make demo        the whole pipeline on the tiny student, offline, on two CPU cores
#   make test        the tests but for the slow ones: storms, repeated kills, simulations
#   make test-all    all tests
#   make smoke       the demo's path on a few problems
#   make check       ruff, mypy and `make test`: the gate for a change
#   make lowest      the tests, without vLLM's, in the lowest versions that pyproject.toml allows
#   make install-gpu vLLM for CUDA, in an environment of its own: .venv-gpu
#   make reproduce   the paper's 7B run (a GPU, `make install-gpu`, and OPENAI_API_KEY)
#   make bench-peers the peers that scripts/bench compares with, in environments of their own
#   make tiny        rebuild the tiny student from nothing (an hour or so)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
GPU_VENV ?= .venv-gpu
# How many tests run at a time.
WORKERS ?= 2
# The versions that the tests ran with.
TESTED := -c .ci/constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Packages are compiled when they are first imported; without the cached bytecode every process would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install install-gpu demo smoke test test-all check lint types lowest reproduce bench-peers tiny clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml scripts/install.py .ci/constraints.txt .ci/excludes.txt
	$(PYTHON) scripts/install.py $(VENV)
	touch $@

install-gpu:
	$(PYTHON) scripts/install.py $(GPU_VENV) --gpu

demo: install
	$(BIN)/drp run configs/demo.yaml

smoke: install
	$(BIN)/drp run configs/demo.yaml --limit 24 --overwrite --set run_dir=runs/smoke --set max_failures=0

test: install
	$(BIN)/pytest -n $(WORKERS) -m "not slow"

test-all: install
	$(BIN)/pytest -n $(WORKERS)

check: install lint types test

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

lowest:
	$(PYTHON) scripts/install.py $(VENV)-lowest --lowest
	$(VENV)-lowest/bin/python -m pytest -n $(WORKERS) -m "not vllm"

reproduce:
	$(GPU_VENV)/bin/drp run configs/paper/r1-distill-qwen-7b.yaml $(ARGS)

bench-peers:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet $(TESTED) torch
	.venv-peers/bin/pip install --quiet $(TESTED) trl==1.16.0 peft
	$(PYTHON) -m venv .venv-curator
	.venv-curator/bin/pip install --quiet bespokelabs-curator==0.1.31

tiny: install
	$(BIN)/python scripts/build_tiny_student.py --output data/tiny

clean:
	rm -rf runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
