# Everything that is done with this repository. `make` alone lists it.
# A fresh machine needs Python 3.11 or newer and make; the rest is fetched into .venv and web/node_modules.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

SOURCE ?=
FILE ?=
SPEED ?=
PORT ?=
DATA_DIR ?=
SHORT ?=
UP_FLAGS = $(if $(SOURCE),--source "$(SOURCE)") $(if $(FILE),--file "$(FILE)") $(if $(SPEED),--speed "$(SPEED)") \
	$(if $(PORT),--port "$(PORT)") $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

LOCKS := requirements.lock requirements-up.lock requirements-bootstrap.lock relay_container/requirements.lock relay_container/model.lock
# What runs the platform, and what develops it on top.
READY := .venv/.ready
INSTALLED := .venv/.installed
WEB_INSTALLED := web/node_modules/.installed
WEB_BUILT := web/dist/index.html
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -path web/tests -prune -o -type f -print 2>/dev/null)
SITE := $(if $(wildcard web/package.json),$(WEB_BUILT))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up ready set-up test test-fast drills synth rehearse image-test lint format generate bench lock clean

help: ## List what there is
	@echo "make up                          run the platform at http://localhost:8000 on a simulated feed"
	@echo "make up SOURCE=jetstream         the same on Bluesky's live stream"
	@echo "make up SOURCE=replay FILE=… SPEED=60 PORT=8080"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

up: ready ## Run the whole platform (SOURCE=, FILE=, SPEED=, PORT=, DATA_DIR=)
	@exec $(BIN)/groundswell up $(UP_FLAGS)

ready: $(READY) $(SITE) ## Fetch and build what running needs; costs nothing when done

set-up: $(INSTALLED) $(SITE) ## The same with what testing and deploying need

# Tests wait more than they compute. A module stays on one worker, which makes its costly parts once. Those of the stacks
# share one process: each process that loads the CDK takes seconds.
WORKERS ?= $(shell echo $$(( 1 + $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) )))
IN_PARALLEL = $(BIN)/pytest -n $(WORKERS) --dist loadfile --ignore=tests/infrastructure

test: set-up ## Run every test but the drills (WORKERS=: how many at once)
	@$(IN_PARALLEL) -m "not drill"
	@exec $(BIN)/pytest tests/infrastructure

drills: set-up ## Run every drill as a test
	@exec $(BIN)/pytest -m drill

test-fast: set-up ## Run the tests that take less than ten seconds each
	@$(IN_PARALLEL) -m "not slow and not drill"
	@exec $(BIN)/pytest tests/infrastructure -m "not slow and not drill"

lint: $(INSTALLED) ## Check format, style, types and the import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(INSTALLED) ## Bring everything into the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(INSTALLED) ## Make the files that come from env.schema.json, the list of metrics, and the locks
	@$(BIN)/groundswell env generate
	@$(BIN)/python -m scripts.components

synth: set-up cdk/node_modules/.installed ## Check a deployment: stacks, cdk-nag, connections, monthly cost
	@cd cdk && exec ../$(BIN)/npx --no-install cdk synth --quiet

rehearse: set-up cdk/node_modules/.installed ## Deploy into a local AWS, run what was deployed, and drive it (SHORT=1: in a minute)
	@exec $(BIN)/python -m rehearsal $(if $(SHORT),--short)

image-test: set-up ## Build the relay's image without a Docker daemon, and run it (as root, with buildah and debootstrap)
	@exec $(BIN)/python -m rehearsal.image

bench: set-up ## Measure: prints tables, writes bench/results/*.json
	@exec $(BIN)/python -m bench

lock: $(INSTALLED) ## Choose package versions anew (needs the network)
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
		--all-extras --group dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
		--constraints requirements.lock requirements-bootstrap.in --output-file requirements-bootstrap.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
		--constraints requirements.lock --extra embedded --extra fastembed --extra sealed pyproject.toml --output-file requirements-up.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.13 \
		--constraints requirements.lock --excludes deployment/not_imported.in --extra aws --extra sealed pyproject.toml \
		--output-file relay_container/requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-annotate --no-deps --python-version 3.13 \
		--constraints requirements.lock relay_container/model.in --output-file relay_container/model.lock
	@! grep -nE '://|^--(extra-)?index|^--find-links' $(LOCKS)
	@echo "make generate lists what the new locks ship."

clean: ## Remove what was fetched and built; recorded data in .groundswell stays
	rm -rf .venv web/node_modules web/dist build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(READY): requirements-up.lock requirements-bootstrap.lock pyproject.toml scripts/set_up.py
	@$(PYTHON) scripts/set_up.py requirements-up.lock
	@touch $@

$(INSTALLED): requirements.lock requirements-bootstrap.lock pyproject.toml scripts/set_up.py
	@$(PYTHON) scripts/set_up.py requirements.lock
	@touch $(READY) $@

$(WEB_INSTALLED): web/package-lock.json web/package.json | $(READY)
	@$(PYTHON) scripts/timed.py "Installing the page's packages" web $(BIN)/npm ci --no-audit --no-fund --loglevel=error
	@touch $@

cdk/node_modules/.installed: cdk/package-lock.json cdk/package.json | $(INSTALLED)
	@$(PYTHON) scripts/timed.py "Installing the CDK command line" cdk $(BIN)/npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB_BUILT): $(WEB_SOURCES) $(WEB_INSTALLED)
	@$(PYTHON) scripts/timed.py "Building the page" web $(BIN)/npm run --silent build
	@touch $@
