# Every target sets up what it needs first: .venv from requirements.txt, node_modules from package-lock.json.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
NPM_READY := node_modules/.package-lock.json
CHAPTERS ?=
SAMPLE ?=
PAGES ?=
PORT ?= 8000
# Tests run in as many processes as there are processors; those of one file share one, except where
# a file holds most of them.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
SECONDS_OF := python -m bookkit.verified.seconds
PYTEST := python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
# One thread: with anything else running, two are up to ten times slower than one.
export OMP_NUM_THREADS = 1
export OMP_WAIT_POLICY = PASSIVE
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Each part of the tests needs what the one before recorded.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help book serve test start lint unit outputs site test-min test-latest outputs-twice outputs-processors lab notebooks chapter bench lighthouse audit gpu checkpoints mutants sweeps record properties accept-equations check-env lock pictures clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort -u | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-24s %s\n", $$1, $$2}'

$(READY): requirements.txt pyproject.toml src/bookkit/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e . -e src/bookkit
	@touch $@

$(NPM_READY): package-lock.json $(READY)
	npm ci --loglevel=error

book: $(READY) $(NPM_READY)  ## build the site and print the file to open
	$(BIN)/python -m bookkit.site.build

serve: $(READY) $(NPM_READY)  ## build, serve on 127.0.0.1:PORT and rebuild when a source changes
	$(BIN)/python -m bookkit.site.serve --port $(PORT)

test: start lint unit outputs site  ## prove everything, or CHAPTERS="iou …": lint, unit tests, stored outputs, site
	@$(SECONDS_OF) table

start: $(READY)
	@$(SECONDS_OF) start

lint: $(READY)  ## ruff over code and notebooks
	@$(SECONDS_OF) time lint sh -c 'ruff check . && ruff format --check .'

unit: $(READY) $(NPM_READY)  ## unit tests; records which equations passed
	$(PYTEST) --part unit --chapters "$(CHAPTERS)" tests --ignore=tests/site

outputs: $(READY)  ## run every notebook and compare it with its stored outputs
	$(PYTEST) --part outputs --chapters "$(CHAPTERS)" --nbval chapters

site: $(READY) $(NPM_READY)  ## build the site with warnings as errors and try it in a browser
	VERIFIED_REQUIRE_PASS=$(if $(CHAPTERS),0,1) $(SECONDS_OF) time build python -m bookkit.site.build
	SITE_REQUIRED=1 $(PYTEST) --part site --chapters "$(CHAPTERS)" --dist loadscope tests/site

# Environments of their own. What such a run finds is not what the site tells of the locked versions.
test-min: RESOLUTION = --resolution lowest-direct ## unit tests and notebooks on the oldest versions that pyproject.toml allows
test-latest: RESOLUTION = --upgrade ## unit tests and notebooks on the newest versions that pyproject.toml allows
test-min test-latest: test-%: $(READY) $(NPM_READY)
	test -x _build/env-$*/bin/python || $(BIN)/python -m uv venv --quiet --seed --python $(BIN)/python _build/env-$*
	$(BIN)/python -m uv pip install --quiet --python _build/env-$* $(RESOLUTION) --editable '.[test]' --editable src/bookkit
	export PATH="$(CURDIR)/_build/env-$*/bin:$$PATH" \
	&& $(PYTEST) tests --ignore=tests/site --verified-record= \
	&& $(PYTEST) --nbval chapters --outputs-record=

outputs-twice: $(READY)  ## like outputs, then run each notebook again in the same kernel
	$(PYTEST) --nbval --twice chapters

# Both libraries choose their instructions when they are loaded, so that one processor can play older ones.
outputs-processors: $(READY)  ## like outputs, with the instructions of three older processors
	@failed=0; for setting in ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=SSE41; do \
	  echo "$$setting"; env $$setting $(PYTEST) --nbval chapters --outputs-record= || failed=1; done; exit $$failed

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=chapters

notebooks: $(READY)  ## run notebooks afresh and store their outputs (CHAPTERS="iou …" for some)
	$(BIN)/python -m bookkit.notebooks.run $(CHAPTERS)

chapter: $(READY) $(NPM_READY)  ## make a new chapter that passes every check (NAME=pose TITLE="…")
	$(BIN)/python -m bookkit.chapter "$(NAME)" "$(TITLE)"

bench: $(READY)  ## measure our helpers beside plain implementations in one run
	@for f in benchmarks/bench_*.py; do $(BIN)/python $$f || exit 1; done

lighthouse: book  ## measure the pages' speed and accessibility with Lighthouse (PAGES="index.html …" for some)
	npm ci --prefix benchmarks/lighthouse --loglevel=error
	$(BIN)/python -m bookkit.site.lighthouse $(PAGES)

audit: $(READY) $(NPM_READY)  ## look for known vulnerabilities in what the lock files name (asks the network)
	uvx pip-audit --requirement requirements.txt --disable-pip --no-deps
	npm audit --audit-level=moderate
	npm audit --audit-level=high --prefix benchmarks/lighthouse

gpu: $(READY)  ## run the GPU cells on this machine's GPU and record them
	$(BIN)/python -m bookkit.notebooks.gpu $(CHAPTERS)

checkpoints: $(READY)  ## train the weights that ship with the book afresh (minutes)
	$(BIN)/python -m bookkit.stored.checkpoints $(CHAPTERS)

mutants: $(READY)  ## change each chapter's code one place at a time, or at SAMPLE=200 places; the tests must notice
	@for c in $(or $(CHAPTERS),$(patsubst chapters/%.ipynb,%,$(wildcard chapters/*.ipynb))); do $(BIN)/python -m bookkit.mutants $$c $(if $(SAMPLE),--sample $(SAMPLE) --max-minutes 20,--max-minutes 90) || exit 1; done

properties: $(READY)  ## try every property-based test on 2,000 new examples (takes long)
	$(BIN)/python -m bookkit.verified.properties --numprocesses $(JOBS) --dist worksteal

sweeps: $(READY)  ## compute recorded results anew (CHAPTERS="iou …" for some; minutes)
	$(BIN)/python -m bookkit.notebooks.sweeps $(CHAPTERS)

record: $(READY)  ## store which equations passed in the last run, for the marks on the pages
	$(BIN)/python -m bookkit.verified record $(CHAPTERS)

accept-equations: $(READY)  ## say that changed LaTeX was compared with its tests
	$(BIN)/python -m bookkit.verified accept

pictures: $(READY) $(NPM_READY)  ## draw the still pictures of the interactive figures
	$(BIN)/python -m bookkit.site.explorables pictures

check-env:  ## one line for each thing present or missing
	@if [ -x $(BIN)/python ]; then $(BIN)/python src/bookkit/environment.py; else $(PYTHON) src/bookkit/environment.py; fi

lock: $(READY)  ## renew requirements.txt from pyproject.toml
	$(BIN)/python -m bookkit.lock

clean:  ## remove what building made (not .venv)
	rm -rf _build build dist .pytest_cache .ruff_cache .hypothesis
