# Everything a developer types. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo check test faults bench costs measure measure-gpu docs pocket-train pocket-eval clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) ## a virtual environment with vidgen in it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $(READY)

demo: $(READY) ## make a clip with the built-in model
	@$(BIN)/vidgen t2v "a red circle moving right on a blue background" --seed 4 --overwrite -o demo.mp4

check: $(READY) ## style and types, in seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check ## everything but the slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

faults: $(READY) ## every round with every fault, into docs/reliability.md; minutes
	$(BIN)/python -m tools.faults

bench: $(READY) ## time and memory beside the peers, into docs/measurements/bench.md
	$(BIN)/python -m tools.bench

costs: $(READY) ## count memory and arithmetic of full-size models into their cards; minutes
	$(BIN)/python -m tools.costs
	$(BIN)/python -m tools.costs --attention

measure: $(READY) ## a few small clips: memory and time of each phase beside what was predicted
	$(BIN)/vidgen doctor --calibrate

measure-gpu: $(READY) ## full-size models under caps of memory, into docs/measurements/gpu.md; wants a GPU; hours
	$(BIN)/python -m tools.measure_gpu

pocket-train: $(READY) ## train the built-in model further, in build/pocket; hours; goes on where it was stopped
	nice -n 19 $(BIN)/python -m tools.pocket.train --work build/pocket
	$(BIN)/python -m tools.pocket.export --checkpoint build/pocket --to build/pocket/export

pocket-eval: $(READY) ## examine the built-in model: the tables of docs/pocket.md
	$(BIN)/python -m tools.pocket.evaluate --folder vidgen/pocket
	$(BIN)/python -m tools.pocket.precisions

docs: $(READY) ## write the generated documents again
	$(BIN)/python -m tools.docs

clean: ## remove what the above made
	rm -rf $(VENV) demo.mp4 demo.mp4.json .mypy_cache .ruff_cache .pytest_cache dist
