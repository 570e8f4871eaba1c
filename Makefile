# Every target does its own set-up in .venv, once. Only Python 3.10 or later is needed.
#
#   make demo                         a video from a prompt with the bundled tiny model
#   make demo PROMPT="a blue circle grows on a white background"
#   make test                         lint, types, and all tests that need no GPU, no download and no ComfyUI
#   make check                        lint, types and the fast tests: for the daily round
#   make lint                         ruff
#   make types                        pyright's engine, standard mode
#   make pack                         node.zip: what the ComfyUI registry serves, checked by its own tool
#   make bench                        side by side with diffusers and transformers on this machine
#
# On Linux a plain `pip install torch` brings the CUDA build, several GB that nothing here needs:
#   make test TORCH_INDEX_URL=...     (the CPU index that pytorch.org names)

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX_URL ?=
PROMPT ?= a red circle moves to the right on a blue background

VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
# Of tests at a time. Their tensors are small: threads inside one would only wait for each other.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal

export OMP_NUM_THREADS ?= 2
# Waiting threads shall sleep, not spin, where other work wants the processor too.
export OMP_WAIT_POLICY ?= passive
export PROMPT
# No model runs in these.
FAST_TESTS := tests/common tests/sampling tests/workflows tests/web tests/docs tests/nodes/headless/test_graph.py \
	tests/nodes/headless/test_frontend_conversion.py tests/nodes/test_schemas.py tests/model_loading/test_detect_wan.py

.PHONY: demo test check lint types pack bench clean

demo: $(VENV)/.ready-run
	$(VENV)/bin/wan-director run workflows/tiny_t2v.json --output output --set "WanDirectorTextEncode.positive=$$PROMPT"

test: lint types
	$(PYTEST)

check: lint types
	$(PYTEST) -q $(FAST_TESTS)

lint: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready-test
	$(VENV)/bin/python tests/check_types.py

# comfy-cli asks nothing and reports nothing.
pack: $(VENV)/.ready-test
	DO_NOT_TRACK=1 $(VENV)/bin/comfy --skip-prompt node validate
	DO_NOT_TRACK=1 $(VENV)/bin/comfy --skip-prompt node pack

bench: $(VENV)/.ready-test
	$(VENV)/bin/python -m benchmarks

clean:
	rm -rf $(VENV) node.zip output .pytest_cache .ruff_cache

$(VENV)/.ready-torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) "$(TORCH)"
	touch $@

$(VENV)/.ready-run: pyproject.toml $(VENV)/.ready-torch
	$(PIP) --editable .
	touch $@

$(VENV)/.ready-test: pyproject.toml $(VENV)/.ready-torch
	$(PIP) --editable ".[dev]"
	touch $@ $(VENV)/.ready-run
