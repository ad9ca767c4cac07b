# One command each, from a fresh clone: `make run`, `make test`, `make lint`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
PY := $(VENV)/bin/python
SERVICES := .venv-services
INSTALLED := $(foreach name,keystone glance nova cinder swift moto tempest,$(SERVICES)/$(name)/installed)
# Processes of a test run: many tests wait for programs that they start.
JOBS ?= $(shell cores=$$(nproc); echo $$((cores < 8 ? cores + 1 : 8)))
export IMAGE

# uv is much faster than pip; pip knows the mirrors that an operator may have configured for it.
# Byte code is compiled once here: every program that a test starts would compile it again.
INSTALL = install() { $(PY) -m uv pip install --quiet --compile-bytecode --python "$$@" \
	|| $(PY) -m pip --python "$$1" install --quiet "$${@:2}"; }; install

AGAIN_MAX := 5

.PHONY: help run test test-again test-long bench bench-deps lint format clean python packages \
	packages-long services bindings

help:
	@echo 'make run               an image through catalog and proxy, end to end (IMAGE=path: your own)'
	@echo 'make test              every gate: rules, lint, types, unit and conformance tests'
	@echo 'make test-again        what failed in `make test`, alone; a gate does so by itself'
	@echo 'make test-long         the tests that take many minutes: kills at every step, power cuts'
	@echo 'make bench             every measurement of `python -m bench list` (SCENARIOS=...: some)'
	@echo 'make bench-deps        what `python -m bench` needs, and those who are measured beside us'
	@echo 'make lint              ruff and mypy only; make format lets ruff rewrite the files'
	@echo 'make clean             remove what the other targets made'

run: $(VENV)/installed-run
	@exec $(PY) -m bench.demo

test: packages $(VENV)/installed-test services bindings
	CACHEPROXY_REQUIRE_SERVICES=1 $(PY) -m pytest --numprocesses $(JOBS) --dist loadfile \
		--no-loadscope-reorder $(ARGS)

# What failed in the run before, alone: beside thousands of others on a machine that has neighbours a
# test of time and processes may meet what no user does.  Who fails twice is broken; who passes now
# has been told above with all that it said, and is to be mended.
test-again:
	@failed=$$(grep -c '"tests/' .pytest_cache/v/cache/lastfailed); \
	echo "$$failed failed; up to $(AGAIN_MAX) are tried again, alone" >&2; [ "$$failed" -le $(AGAIN_MAX) ]
	CACHEPROXY_REQUIRE_SERVICES=1 $(PY) -m pytest --last-failed --last-failed-no-failures none \
		--verbose $(ARGS)

test-long: packages packages-long $(VENV)/installed-test services bindings
	CACHEPROXY_REQUIRE_SERVICES=1 $(PY) -m pytest -m long $(ARGS)

bench: packages packages-long bench-deps services bindings
	$(PY) -m bench run $(or $(SCENARIOS),$$($(PY) -m bench list | cut -d' ' -f1)) $(ARGS)

lint: $(VENV)/installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .

format: $(VENV)/installed-test
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf $(VENV) $(SERVICES) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# Debian's programs that the tests use; python3-venv comes with them.
packages:
	@tests/services/packages.sh python3-venv ceph-common ceph-mon ceph-osd curl e2fsprogs haproxy \
		mariadb-server nginx-light postgresql python3-rados python3-rbd qemu-block-extra qemu-utils openssl rabbitmq-server radosgw systemd \
		wrk xfsprogs

# What makes and starts a small Debian in a virtual machine.
packages-long:
	@tests/services/packages.sh debootstrap mtools qemu-system-x86 syslinux

# What `python -m bench` needs, whom it compares with, and what makes the load; Glance comes with
# `make services`.
bench-deps: $(VENV)/installed-bench
	@tests/services/packages.sh nginx-light postgresql python3-psycopg2 varnish squid trafficserver wrk

python:
	@PYTHON=$(PYTHON) tests/services/packages.sh python3-venv

$(VENV)/created: | python
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

$(VENV)/installed-run: $(VENV)/created pyproject.toml constraints.txt
	@$(INSTALL) $(PY) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/created pyproject.toml constraints.txt
	@$(INSTALL) $(PY) --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/installed-run

$(VENV)/installed-bench: $(VENV)/created pyproject.toml constraints.txt
	@$(INSTALL) $(PY) --constraint constraints.txt --editable '.[bench]'
	@touch $@

# Ceph's own Python modules, which only Debian builds, for our tests and for Glance.
bindings: packages $(VENV)/created $(SERVICES)/glance/installed
	@tests/services/bindings.sh $(PY) $(SERVICES)/glance/bin/python

# The real services, each in an environment of its own: their pins contradict one another.  Several
# at a time, for they mostly wait for the network; what each prints stays together.
services: $(VENV)/created
	@$(MAKE) --silent --no-print-directory --jobs 4 --output-sync $(INSTALLED)

$(SERVICES)/%/installed: tests/services/%.txt | $(VENV)/created
	$(PYTHON) -m venv --clear --without-pip $(SERVICES)/$*
	@$(INSTALL) $(SERVICES)/$*/bin/python --requirement $<
	@touch $@
