# `make` lists the targets. Variables: PYTHON (3.10 to 3.13), FRAMES, TEST_FRAMES, RECIPE, WEIGHTS.

PYTHON ?= python3
FRAMES ?= 4000
TEST_FRAMES ?= 240
RECIPE ?= config/train/household.yaml
WEIGHTS ?= household
DATA := datasets/household

# A .venv that stands is kept, whatever its Python, unless PYTHON is given.
SET_UP := @$(PYTHON) tools/make_venv.py $(if $(filter file,$(origin PYTHON)),--any-python)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup setup-train demo test bench dataset train evaluate clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1mmake %-12s\033[0m %s\n", $$1, $$2}' Makefile

setup:  ## .venv with what runs the node (no torch)
	$(SET_UP)

setup-train:  ## the same, with torch, mujoco and the household assets (5 GB)
	$(SET_UP) train

demo: setup  ## watch the robot see: a camera, the node, boxes, mask and class (leaves demo_out/)
	@$(BIN)/python -m mtl_perception.ros.demo

test:  ## all tests
	$(SET_UP) train test
	@$(BIN)/python -m pytest

bench: setup  ## how long a frame takes
	@$(BIN)/benchmark $(WEIGHTS)

dataset: setup-train  ## render FRAMES household frames into datasets/household
	@$(BIN)/render_dataset --out $(DATA) --frames $(FRAMES)

train: setup-train  ## train the shipped recipe
	@$(BIN)/train $(RECIPE)

evaluate: setup-train  ## render the held-out split afresh and score the shipped weights on it
	@$(BIN)/render_dataset --out $(DATA) --split test --frames $(TEST_FRAMES)
	@$(BIN)/evaluate $(WEIGHTS) --data $(DATA) --split test

clean:  ## remove .venv and all that the commands wrote
	rm -rf .venv .cache build install log demo_out datasets
