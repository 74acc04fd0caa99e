# kapi: `make up` starts a cluster on this machine, `make test` runs every test. Both install what they need.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PACKAGES := containerd runc containernetworking-plugins nftables conntrack iproute2 catatonit busybox-static
PROGRAMS := containerd runc nft conntrack ip catatonit busybox

.PHONY: help up down test fast lint bench soak fuzz docs clean install machine

help:
	@echo "make up      start a cluster with real containers; its context is kapi"
	@echo "make down    stop it; its data stays"
	@echo "make test    every test: fast ones first, then those with containers"
	@echo "make fast    only the tests that need no container"
	@echo "make lint    ruff and mypy --strict"
	@echo "make bench   measure an API server and print a table"
	@echo "make soak    200 watchers of an API server that is killed again and again: three minutes"
	@echo "make fuzz    every operation of our OpenAPI documents with made-up arguments: FUZZ_SECONDS (900)"
	@echo "make docs    the pages of docs/ as a site: build/docs/index.html"
	@echo "make clean   remove what was built here"

$(STAMP): pyproject.toml
	@echo " … Python packages into $(VENV)"
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: apt-get install python3 python3-venv"; exit 1; }
	@[ -x $(PY) ] || python3 -m venv $(VENV) || { echo "venv is missing: apt-get install python3-venv"; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)

machine:
	@missing=""; for p in $(PROGRAMS); do PATH=$$PATH:/usr/sbin:/sbin command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	[ -d /usr/lib/cni ] || [ -d /opt/cni/bin ] || missing="$$missing cni-plugins"; \
	if [ -n "$$missing" ]; then \
	  echo " … Debian packages for:$$missing"; \
	  { command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || command -v sudo >/dev/null; } \
	    && $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; } \
	  || { echo "Could not install them. As root: apt-get install --no-install-recommends $(PACKAGES)"; exit 1; }; \
	fi

up: install machine
	@[ -z "$(SUDO)" ] || command -v sudo >/dev/null || { echo "Real containers need root and there is no sudo. As root: make up; or without containers: $(VENV)/bin/kapi up --simulate"; exit 1; }
	@$(SUDO) env "HOME=$(HOME)" "KUBECONFIG=$(KUBECONFIG)" $(PY) -m kapi up

down: install
	@[ -z "$(SUDO)" ] || command -v sudo >/dev/null || { echo "A cluster with real containers is root's and there is no sudo. As root: make down; or one without containers: $(VENV)/bin/kapi down"; exit 1; }
	@$(SUDO) env "HOME=$(HOME)" "KUBECONFIG=$(KUBECONFIG)" $(PY) -m kapi down

test: install machine
	@$(MAKE) --no-print-directory fast
	@echo " … tests with containers"
	@$(SUDO) env "PATH=$(CURDIR)/$(VENV)/bin:$(PATH):/usr/sbin:/sbin" $(PY) -m pytest -m containers

fast: install
	@echo " … fast tests"
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pytest -m "not containers"

lint: install
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy kapi kubelet openapi certs conformance bench tests
	@$(PY) -m tests.house

soak: install
	@$(PY) -m conformance.soak

fuzz: install
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@$(PY) -m conformance.fuzz --seconds $${FUZZ_SECONDS:-900}

docs: install
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@$(VENV)/bin/sphinx-build -W --keep-going -n -q docs build/docs
	@echo "build/docs/index.html"

bench: install
	@$(PY) -m bench

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
