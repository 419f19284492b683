# Everything a person types. `make run` and `make test` need nothing but Python 3.11 or newer with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
export CROSSMODAL_WORKSPACE ?= $(CURDIR)/workspace

.PHONY: install install-dev sign-in run serve test lint bench slow ray multivae-env parity results quality-slow demo-run demo-results anatomy clean

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@

## What visitors of a server need to sign in: docs/signing-in.md
sign-in: $(VENV)/.installed-signin

$(VENV)/.installed-signin: $(VENV)/.installed requirements-signin.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-signin.txt -c constraints.txt
	touch $@

## Open the app with the demo cohort and the trained demo run
run: install
	@test -e $(CROSSMODAL_WORKSPACE)/runs/run-demo/config.json || $(BIN)/python -m core demo
	$(BIN)/python -m ui.serve --server.port $(PORT)

## The same as a server: each visitor has a workspace of their own, the demo is shared
serve: export CROSSMODAL_VISITORS = apart
serve: run

## Linters, types, unit tests, page tests, browser tests
test: install-dev lint
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow and not gpu and not ray"

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## The quick measurements, as a table
bench: install-dev
	$(BIN)/python -m benchmarks

## Tests that take minutes
slow: install-dev sign-in
	$(BIN)/python -m pytest -m "slow or gpu"

## Tests on a Ray cluster of one node, started here and stopped again
ray: $(VENV)/.installed-ray
	$(BIN)/python -m pytest -s -m ray tests/on_ray

$(VENV)/.installed-ray: $(VENV)/.installed-dev requirements-ray.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt -c constraints.txt
	touch $@

## The library multivae, which needs another torch, in an environment of its own
multivae-env: .venv-multivae/.installed

.venv-multivae/.installed: benchmarks/multivae-requirements.txt
	$(PYTHON) -m venv .venv-multivae
	.venv-multivae/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/multivae-requirements.txt
	touch $@

## Our multimodal VAEs beside that library's
parity: install-dev multivae-env
	$(BIN)/python -m benchmarks parity

## Every model's images after three minutes of one core each: T1 -> T2, T1+T2 -> FLAIR, T1 -> CT, T1+CT -> PET (a day)
quality-slow: install-dev
	QUALITY_MODELS=all $(BIN)/python -m benchmarks quality
	QUALITY_MODELS=all QUALITY_TASKS=ct,pet $(BIN)/python -m benchmarks quality

## The arena on the demo cohort and, where CROSSMODAL_DATA names them, on real patients: docs/results.md
results: install-dev
	$(BIN)/python -m benchmarks results

## Train the demo run anew and put it where it ships from
demo-run: install
	$(BIN)/python scripts/make_demo_run.py

## Judge the shipped weights anew, by today's metrics
demo-results: install
	$(BIN)/python scripts/make_demo_run.py --judge

## Reduce the template to the demo's anatomy anew
anatomy: install
	$(BIN)/python -m pip install --quiet nilearn==0.14.1
	$(BIN)/python scripts/make_anatomy.py

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache build
