.DEFAULT_GOAL := help
.PHONY: help install demo test check emr-wheels lint format fuzz load soak sbom audit spark4 bench docs modules lock digits clean

# `make test PYTHON=python3.12` tries another interpreter (after `make clean`).
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EMR_WHEELS := $(VENV)/emr-wheels
CHECKOV := $(VENV)/checkov
TEMPLATES := inference/cloud/stack/tail.yaml emr/cluster.yaml

help:  ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' Makefile | expand -t 14

install: $(READY)  ## everything into .venv, from the lock file

$(READY): requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 \
		--require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY)  ## the main job: a tail in another process, 360 images through it, the log evaluated by MapReduce
	PATH="$(abspath $(BIN)):$$PATH" ./docs/demo.sh

# A worker that dies is not replaced: xdist 3.8 waits for ever for files the dead one had already done (its #1378).
test: $(READY) $(EMR_WHEELS)  ## every test; needs nothing beforehand
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 --durations 10

check: lint  ## what a change most likely breaks, in under two minutes: style, types, unit tests, one run end to end
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 --durations 10 -m "not slow"

emr-wheels: $(EMR_WHEELS)  ## libraries for EMR's Python 3.11, which its tests need where another Python runs them

$(EMR_WHEELS): $(READY)
	$(BIN)/python -m tests.emr.wheelhouse $@
	touch $@

lint: $(READY) $(CHECKOV)/.ready docs  ## style, types, templates and policies of AWS, and the links of every page
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint $(TEMPLATES)
	$(CHECKOV)/bin/checkov --framework cloudformation --file $(TEMPLATES) --skip-download --compact --quiet
	$(CHECKOV)/bin/python tests/cloud/check_policies.py emr/policy.json inference/cloud/permissions/*.json

# It pins old versions of many libraries, so it has an environment and a lock file of its own.
$(CHECKOV)/.ready: requirements-checkov.lock | $(READY)
	$(PYTHON) -m venv --clear $(CHECKOV)
	$(CHECKOV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r requirements-checkov.lock
	touch $@

format: $(READY)  ## correct the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A long test may take longer than any test of `make test`.
LONG := $(BIN)/python -m pytest -s --long -o timeout=7200 -o faulthandler_timeout=7300

fuzz: $(READY)  ## mutated models, bundles, images, frames and requests; `make test` has short forms
	$(LONG) tests/fuzz

load: $(READY)  ## 1 to 2,000 clients of one server, slow and hostile ones among them
	$(LONG) tests/load

soak: $(READY)  ## faults while images are classified: killed runners, servers and workers, failing S3, stalled links
	$(LONG) tests/soak tests/queue/soak.py
	$(LONG) tests -m long

sbom: $(READY)  ## a CycloneDX SBOM and the licences of what is locked, validated, in build/sbom
	$(BIN)/python docs/supply_chain.py sbom requirements.lock build/sbom

audit: $(READY)  ## advisories of what is locked; needs the network, and fails if it cannot be reached
	$(BIN)/python docs/supply_chain.py audit requirements.lock

spark4: $(READY)  ## the engines' tests with the newest Spark 4, which takes a Java 17 of the machine
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target .spark4 'pyspark>=4,<5'
	PYTHONPATH=.spark4 $(BIN)/python -c 'import pyspark; print("Spark", pyspark.__version__)'
	PYTHONPATH=.spark4 $(BIN)/python -m pytest tests/jobs/test_partitions.py tests/jobs/test_compare_engines.py -k spark

bench: $(READY)  ## measure; prints tables and writes bench/results/*.json
	$(BIN)/python -m bench

docs: $(READY)  ## build the documentation into site/; fails on dead links
	$(BIN)/python docs/links.py
	$(BIN)/zensical build --strict

modules: $(READY)  ## write docs/modules.md
	$(BIN)/python docs/list_modules.py

lock:  ## pin what setup.cfg asks for, for Python 3.11 and 3.12 on Linux and macOS
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--all-extras --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	echo checkov | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" - -o requirements-checkov.lock

digits: $(READY)  ## make the sample images, train the sample model and import it
	$(BIN)/python -m hybrid_batch.data.digits.make_digits
	$(BIN)/hybrid-batch import data/digits/digits.keras --scale 0-1 --classes data/digits/classes.txt \
		-o data/digits/digits.bundle --force

clean:  ## remove what these targets made
	rm -rf $(VENV) .spark4 .cache site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
