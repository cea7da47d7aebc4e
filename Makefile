# Two commands set everything up by themselves: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip of the machine installs into the environment, so that Python needs no ensurepip (Debian keeps that apart).
PIP = $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet
# What Python compiles is kept, wherever it is told not to: else each of the many programs that the tests start compiles the daemon.
# tests/conftest.py says which files begin.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DEBIAN := prometheus prometheus-alertmanager docker-compose strace wrk postgresql postgresql-contrib pgbouncer openssh-server openssh-client \
  zsh fish tcsh ksh mksh busybox faketime

.PHONY: help run demo fakes test quick check bench mutation faults lock clean debian

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/run.stamp ## start the daemon on 127.0.0.1:9095: dry-run, shipped rules
	@$(BIN)/remediator serve

demo: $(VENV)/run.stamp ## watch a small app fall ill and be healed; SCENARIO=list tells what else can be watched
	@$(BIN)/python deploy/demo/demo.py $(SCENARIO)

fakes: $(VENV)/run.stamp ## start the fakes of Fly.io, Kubernetes, PagerDuty, Slack and others on the loopback
	@$(BIN)/python deploy/fakes

test: $(VENV)/dev.stamp debian check ## install what the tests need, run all checks and tests
	$(PYTEST)

quick: $(VENV)/dev.stamp ## the fast tests alone
	$(PYTEST) -m "not slow"

check: $(VENV)/dev.stamp ## style, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev.stamp debian ## measure beside the limits in one run, and write docs/performance.md
	$(BIN)/python tests/bench/bench.py

mutation: $(VENV)/dev.stamp ## see which changes of guards, claims and transitions no test notices: docs/mutation.md
	$(BIN)/python tests/mutation/run.py

faults: $(VENV)/dev.stamp debian ## inject every fault of the promises, and write docs/faults.md
	$(PYTEST) -m fault --faults-page

debian: # what the tests need and PyPI hasn't
	@for tool in prometheus prometheus-alertmanager promtool amtool docker-compose strace wrk pg_ctlcluster /usr/sbin/pgbouncer /usr/sbin/sshd zsh fish tcsh ksh mksh busybox faketime; do \
	  command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
	  $(ROOT) apt-get update -qq && \
	  $(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN) >/dev/null; fi

lock: ## pin the dependencies anew
	$(PYTHON) -m pip install --quiet uv
	$(PYTHON) -m uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-emit-index-url -q -o requirements.lock
	$(PYTHON) -m uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-header --no-emit-index-url -q -o requirements-dev.lock
	$(PYTHON) -m uv pip compile pyproject.toml --all-extras --constraint requirements-dev.lock --universal --generate-hashes --no-header --no-emit-index-url -q -o requirements-image.lock
	$(PYTHON) -m uv pip compile --group build --constraint requirements-dev.lock --universal --generate-hashes --no-header --no-emit-index-url -q -o requirements-build.lock

clean: ## remove the environment and what runs left behind
	rm -rf $(VENV) .mutation .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(VENV)/bin/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/run.stamp: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run.stamp
