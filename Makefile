# make demo    sample faces, the pipeline and the dashboard, from a fresh clone
# make test    the test suite, from a fresh clone        make test-all   with the slow tests
# make check   format, lint, types, architecture         make setup      everything for developers
# make audit   known weaknesses of the pinned packages, and sbom.json with what is installed
# make train-smoke   train a toy network of every family, export it, analyse the sample with it

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup cluster-setup check test test-slow test-all audit demo train-smoke

BIN := .venv/bin
DEMO_SECONDS ?=
DEMO_HEADLESS ?=
PYTEST_ARGS ?=
TEST_WORKERS ?= 2

# Libraries send no telemetry.
export ORT_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0
export STREAMLIT_BROWSER_GATHER_USAGE_STATS := false

help:
	@sed -n '1,5s/^# //p' Makefile

setup: .venv/.developer
	@echo "reading the libraries' types once, so that make check is quick"
	@$(BIN)/mypy >/dev/null || true
	@echo "ready: .venv"

check: .venv/.developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_architecture.py

test: .venv/.developer
	$(BIN)/pytest -m "not slow" -n $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

test-slow: .venv/.developer
	$(BIN)/pytest -m slow $(PYTEST_ARGS)

test-all: test test-slow

# The tools have an environment of their own: they are no part of what they look at. The list of
# parts comes first, so that it is there where a weakness ends the target.
audit: .venv/.audit .venv/.cluster
	.venv/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

# What cluster.yaml installs on every machine.
cluster-setup: .venv/.cluster

demo: .venv/.demo
	@$(BIN)/undercam demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(if $(filter-out 0,$(DEMO_HEADLESS)),--headless)

# Two families at a time, each with one thread.
FAMILIES := lrdif drfer emodc face-resnet poster noise-resnet18 resnet18
train-smoke: .venv/.developer
	@rm -rf runs/smoke
	@$(MAKE) --no-print-directory --output-sync=target -j 2 $(FAMILIES:%=smoke-%)

smoke-%:
	$(BIN)/undercam train $* --preset smoke --data toy --seed 0 --threads 1 --run-dir runs/smoke/$* --out runs/smoke/$*.safetensors --json
	$(BIN)/undercam export runs/smoke/$*.safetensors runs/smoke/$*.onnx --json
	$(BIN)/undercam analyze sample --fps 2 --weights runs/smoke/$*.safetensors --json

# The stamps: packages are installed again only when these files change.
.venv/.demo: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,dashboard)
	@touch $@

.venv/.cluster: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,dashboard$(comma)kafka$(comma)mqtt$(comma)postgres$(comma)cluster)
	@touch $@

.venv/.developer: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,dev$(comma)kafka)
	@touch .venv/.demo $@

.venv/.audit: .github/audit.txt | .venv/bin/python
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install -qq --disable-pip-version-check -r .github/audit.txt
	@touch $@

.venv/bin/python:
	@for python in python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv .venv || { $(call refuse,no virtual environment,$$python,install its venv module (Debian: apt-get install python3-venv)); }; \
	    exit 0; \
	  fi; \
	done; \
	$(call refuse,no Python 3.11 or newer,PATH,install one and call make again)

comma := ,
refuse = rm -rf .venv; echo "undercam: $(1): $(2): $(3)" >&2; exit 2

# uv if it is installed; it ignores pip's setting for local wheels.
define install
	@echo "installing packages ($(1)), a few minutes the first time"
	@if command -v uv >/dev/null; then \
	  UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(1)]'; \
	else \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(1)]'; \
	fi
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  echo "undercam: OpenCV does not start: system libraries: install them (Debian: apt-get install libgl1 libglib2.0-0)" >&2; exit 2; }
endef
