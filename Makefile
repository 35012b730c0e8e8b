# `make` lists the targets. PYTHON chooses the Python (3.10 to 3.13), WEIGHTS a name in weights/,
# RECIPE a file of config/train/, SPLITS and FRAMES what is rendered, SPLIT what is scored.

PYTHON ?= python3
WEIGHTS ?= household
RECIPE ?= config/train/household.yaml
SPLITS ?= train val test test_variants test_heights
FRAME_COUNT := $(if $(FRAMES),--frames $(FRAMES))
DATA := datasets/household
SPLIT ?= test
FRESH := datasets/fresh

# A .venv that stands is kept, whatever its Python, unless PYTHON is given.
SET_UP := @$(PYTHON) tools/make_venv.py $(if $(filter file,$(origin PYTHON)),--any-python)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup setup-train demo test bench bench-train dataset train evaluate study soak clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1mmake %-12s\033[0m %s\n", $$1, $$2}' Makefile

setup:  ## .venv with what runs the node (no torch)
	$(SET_UP)

setup-train:  ## the same, with torch, mujoco and the household assets (5 GB)
	$(SET_UP) --train

demo: setup  ## watch the robot see: a camera, the node, boxes, mask and class (leaves demo_out/)
	@$(BIN)/python -m mtl_perception.ros.demo

test:  ## all tests
	$(SET_UP) --train --test
	@$(BIN)/python tools/get_chromium.py
	@$(BIN)/python -m pytest

bench: setup  ## how long a frame takes
	@$(BIN)/benchmark $(WEIGHTS) $(BENCH_FLAGS)

bench-train: setup-train  ## pictures a second in training, and whether it waits for data
	@$(BIN)/python -m mtl_perception.cli.training_speed

dataset: setup-train  ## render the household splits into datasets/household
	@for split in $(SPLITS); do \
	  $(BIN)/render_dataset --out $(DATA) --split $$split $(FRAME_COUNT) || exit; done

train: dataset  ## train the shipped recipe on them
	@$(BIN)/train $(RECIPE) --data $(DATA)

evaluate: setup-train  ## render a held-out SPLIT afresh and score the shipped weights on it
	@rm -rf $(FRESH)
	@$(BIN)/render_dataset --out $(FRESH) --split $(SPLIT) $(FRAME_COUNT)
	@$(BIN)/evaluate $(WEIGHTS) --data $(FRESH) --split $(SPLIT)

study: setup-train  ## what is forgotten and what keeps it: all runs of docs/STUDY.md
	@for split in study study_test; do \
	  $(BIN)/render_dataset --out datasets/study --split $$split --width 256 --height 256 || exit; done
	@$(BIN)/python tools/study.py

soak:  ## the node under all that a robot may do to it, 20 minutes: docs/RELIABILITY.md
	$(SET_UP) --train --test
	@$(BIN)/python tools/soak.py

clean:  ## remove .venv and what was built; datasets/ and runs/ stay
	rm -rf .venv .cache build install log demo_out
