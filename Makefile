# `make` lists the targets: those with a `## line` behind them. Each sets up what it needs.

# Some images of containers set it: each of the tests' thousands of processes would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

# Debian's own, where it is new enough: what its packages run on, and built with all optimisations.
# One that stands before it in a PATH mostly isn't, and takes half as long again.
ifndef PYTHON
PYTHON := $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
endif
VENV := .venv
BIN := $(VENV)/bin
DURATION ?=
# What `pyboot render kubernetes` names, too; the version stands in pyboot_svc/__init__.py alone.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' pyboot_svc/__init__.py)
IMAGE ?= pyboot-svc:$(VERSION)
BENCH ?= full
BENCH_VENV := .venv-bench
SWEEP_OPTIONS = $(if $(QOS),--qos $(QOS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(TURNS),--turns $(TURNS)) \
	$(if $(SECONDS),--seconds $(SECONDS))
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Nothing is built with libraries that no hash is known of: setuptools is locked, too.
PIP_LOCKED := $(PIP_INSTALL) --require-hashes --no-build-isolation --requirement
BENCH_PIP := $(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check
RATE ?= 200
# Some tests mount small disks, and boot a Debian.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env "PYTEST_ADDOPTS=$(PYTEST_ADDOPTS)")
# How many tests run side by side: of those that compute, at times wait, and of those that mostly do.
CORES := $(shell nproc)
COMPUTING := -n $(shell expr 3 \* $(CORES) / 2)
WAITING := -n $(shell expr 5 \* $(CORES) / 2)
# Booted hosts, each for all tests of a file; four of them on two cores, since they wait half the time.
HOSTS := -n $(shell expr 2 \* $(CORES)) --dist loadfile
# What unit, integration and chaos tests run on, one after the other: see tests/on.sh. Each suite runs
# with each set of dependencies, and those of workers on each data plane; integration and chaos tests
# together on each of the four pairs.
UNIT_ON ?= newest-bulk oldest-bulk
INTEGRATION_ON ?= newest-bulk oldest-plain
CHAOS_ON ?= oldest-bulk newest-plain
# $(call on_each,DEPENDENCIES-PLANE…,AS_ROOT or nothing,arguments of pytest)
on_each = @set -e; for on in $(1); do $(2) tests/on.sh $$on $(BIN)/pytest $(3); done

# What the suites need of Debian: a program or a file, and the package that brings it.
BROKER := mosquitto mosquitto
COMPILER := cc gcc /usr/include/stdio.h libc6-dev
BOOTED := mmdebstrap mmdebstrap systemd-nspawn systemd-container
NPM := node nodejs npm npm
SIGNED := gpg gpg apt-ftparchive apt-utils createrepo_c createrepo-c
UNIT_NEEDS := $(BROKER) systemd-analyze systemd
INTEGRATION_NEEDS := $(BROKER) mosquitto_rr mosquitto-clients strace strace openssl openssl $(COMPILER)
PAGE_NEEDS := $(BROKER) chromium chromium
HOSTS_NEEDS := $(BROKER) ip iproute2
BROKERS := $(BROKER) mmdebstrap mmdebstrap
SYSTEM_NEEDS := $(BOOTED) $(SIGNED) lintian lintian rpmlint rpmlint dnf dnf
CONTAINER_NEEDS := $(BROKER) $(BOOTED) buildah buildah
DEB_NEEDS := dh debhelper dh_python3 dh-python - pybuild-plugin-pyproject - python3-all
RPM_NEEDS := rpmbuild rpm pip3 python3-pip dh_python3 dh-python
TEST_NEEDS := $(UNIT_NEEDS) $(INTEGRATION_NEEDS) $(PAGE_NEEDS) $(HOSTS_NEEDS) $(SYSTEM_NEEDS) \
	$(CONTAINER_NEEDS) $(DEB_NEEDS) $(RPM_NEEDS) $(NPM)

.DEFAULT_GOAL := help
.PHONY: help run test needs lint unit integration test-page screenshots test-repeat golden test-hosts test-brokers scaling chaos chaos-quick soak test-system test-openrc test-container footprint spool fuzz arrays publishes sparkplug bench bench-quick bench-scrape bench-history bench-page breakdown lock audit deb rpm wheel images repository release clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: $(VENV)/.run ## the demo: a broker, a simulated plant, the bundled models; RATE=200, DURATION=seconds
	@packaging/need.sh $(BROKER)
	@$(BIN)/python docs/demo/run.py --rate $(RATE) $(if $(DURATION),--duration $(DURATION))

# Two at a time, the longest first, so that both come to their end together: make keeps to that order
# where nothing has to be built first. Each prints what it has to say at its end.
PACKAGES := deb rpm wheel
SUITES := integration unit test-system test-openrc chaos-quick test-brokers test-container test-page \
	lint test-hosts
test: ## everything that CI proves; within 30 minutes on two cores
	+@$(MAKE) --no-print-directory --jobs=2 $(VENV)/.test build/oldest/.installed needs
	+@$(MAKE) --no-print-directory --jobs=2 RPM_OPTIONS=--nocheck $(PACKAGES) \
		build/brokers/node_modules build/page/node_modules
	+@$(MAKE) --no-print-directory --jobs=2 --output-sync=target PACKAGES= $(SUITES)

needs: | $(BIN)/python
	@packaging/need.sh $(TEST_NEEDS)

lint: $(VENV)/.test ## ruff, mypy, and whether generated documentation and the version agree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pyboot_svc tests benchmarks packaging/release.py packaging/sbom.py docs/reference.py docs/demo/run.py docs/demo/plant.py
	$(BIN)/python docs/reference.py --check || \
		{ echo "what docs/reference.py writes is out of date: $(BIN)/python docs/reference.py" >&2; exit 1; }
	$(BIN)/python packaging/release.py check

unit: $(VENV)/.test build/oldest/.installed ## each part by itself, with the newest and the oldest dependencies
	@packaging/need.sh $(UNIT_NEEDS)
	$(call on_each,$(UNIT_ON),$(AS_ROOT),$(COMPUTING) tests/unit tests/fuzz)

integration: $(VENV)/.test build/oldest/.installed ## real processes on a real broker, and what the documentation shows
	@packaging/need.sh $(INTEGRATION_NEEDS)
	$(call on_each,$(INTEGRATION_ON),,$(WAITING) tests/integration tests/field tests/security/web)

# The page at `/`, in a browser. axe-core, from npm, looks whether everybody can use it.
test-page: $(VENV)/.test build/page/node_modules ## the page, in a headless Chromium
	@packaging/need.sh $(PAGE_NEEDS)
	$(BIN)/pytest $(WAITING) tests/page

build/page/node_modules: tests/page/package.json
	@packaging/need.sh $(NPM)
	@mkdir -p $(@D) && cp $< $(@D)
	cd $(@D) && npm install --no-audit --no-fund --loglevel=error
	@touch $@

screenshots: $(VENV)/.test ## docs/page*.png: the page, with simulated instances
	@packaging/need.sh $(PAGE_NEEDS)
	@PYTHONPATH=tests $(BIN)/python -m page.screenshots docs

# A suite COUNT times, each time in another order: unit, integration, chaos-quick, hosts, system,
# openrc or container. LOAD=1: beside busy loops on every core.
# `make unit PYTEST_ADDOPTS="--random-order --random-order-seed=N"` repeats a run.
SUITE ?= unit
COUNT ?= 20
test-repeat: $(VENV)/.test ## SUITE=unit COUNT=20 times, each time in another order; LOAD=1: on busy cores
	@$(BIN)/python tests/repeat.py $(SUITE) $(COUNT) $(if $(LOAD),--load)

# After a meant change of what `pyboot render kubernetes` prints: what its tests compare with.
golden: $(VENV)/.test ## rewrite what the tests of Kubernetes manifests compare with
	PYBOOT_GOLDEN=write $(BIN)/pytest tests/unit/kubernetes/test_golden.py

# A broker and two workers on hosts of their own, by network namespaces. Needs root.
test-hosts: $(VENV)/.test ## a broker and two workers on hosts of their own; needs root
	@packaging/need.sh $(HOSTS_NEEDS)
	$(AS_ROOT) $(BIN)/pytest tests/hosts

# Brokers of other makers, from Debian 13 and npm. Needs root.
test-brokers: $(VENV)/.test build/brokers/node_modules ## brokers of other makers; needs root
	@packaging/need.sh $(BROKERS)
	$(AS_ROOT) $(BIN)/pytest tests/brokers

build/brokers/node_modules: tests/brokers/package.json tests/brokers/package-lock.json
	@packaging/need.sh $(NPM)
	@mkdir -p $(@D) && cp $^ $(@D)
	cd $(@D) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# What a thousand workers take of a master and a broker: the measured figures of docs/scaling.md.
scaling: $(VENV)/.test ## what a thousand workers take of a master and a broker (docs/scaling.md)
	@packaging/need.sh $(BROKER)
	@PYTHONPATH=tests $(BIN)/python benchmarks/scaling.py

# Faults on purpose, every message counted: a part of them in some minutes, or all. Needs root.
# `make chaos CHAOS_SEED=N` repeats a run.
chaos-quick: $(VENV)/.test build/oldest/.installed ## a part of the faults on purpose, every message counted; needs root
	@packaging/need.sh $(BROKERS)
	$(call on_each,$(CHAOS_ON),$(AS_ROOT),$(WAITING) tests/chaos --chaos=ci)

chaos: $(VENV)/.test ## all of them; CHAOS_SEED=N repeats a run; needs root
	@packaging/need.sh $(BROKERS)
	$(AS_ROOT) $(BIN)/pytest tests/chaos --chaos=full
	$(AS_ROOT) env PYBOOT_TEST_DATA_PLANE=plain $(BIN)/pytest tests/chaos --chaos=full

# Inputs made by machines, for FUZZ_SECONDS in all; FUZZ="codecs web" picks some targets. What one
# finds is kept in tests/fuzz/corpus, as a test from then on.
FUZZ_SECONDS ?= 3600
fuzz: $(VENV)/.test ## inputs made by machines, for an hour; FUZZ_SECONDS=, FUZZ=targets
	@PYTHONPATH=tests:. $(BIN)/python -m fuzz.campaign $(FUZZ_SECONDS) $(FUZZ)

# A million messages: does the worker grow? Prints its figures.
soak: $(VENV)/.test ## a million messages: does the worker grow?
	@packaging/need.sh $(BROKER)
	@PYTHONPATH=tests $(BIN)/python -m chaos.soak

footprint: $(VENV)/.test ## time, memory and CPU of a worker and a master (docs/performance.md)
	@packaging/need.sh $(BROKER)
	@PYTHONPATH=tests $(BIN)/python benchmarks/footprint.py

# How fast results that waited on disk go out: the figures of docs/performance.md.
spool: $(VENV)/.test ## how fast results that waited on disk go out (docs/performance.md)
	@packaging/need.sh $(BROKER)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.spool

# What Prometheus costs with a thousand instances: the figure of docs/monitoring.md.
bench-scrape: $(VENV)/.test ## what /metrics takes with a thousand instances (docs/monitoring.md)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.scrape

bench-history: $(VENV)/.test ## what the master's day of 500 instances takes (docs/keeping-up.md)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.history

bench-page: $(VENV)/.test ## when the page with 500 instances is painted (docs/keeping-up.md)
	@packaging/need.sh chromium chromium
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.paint

# numpy arrays as results, beside lists: the figures of docs/performance.md.
arrays: $(VENV)/.test ## what a numpy array costs as a result, beside a list (docs/performance.md)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.arrays

# Several results for one input, beside one: the figures of docs/performance.md.
publishes: $(VENV)/.test ## what three results by context.publish cost, beside one (docs/performance.md)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.publishes

# What decoding Sparkplug B takes beside Google's protobuf library: the figures of
# docs/performance.md.
sparkplug: $(VENV)/.test ## what decoding Sparkplug B takes (docs/performance.md); ROUNDS=
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.sparkplug $(if $(ROUNDS),--rounds $(ROUNDS))

# Side by side with what users would pick instead; writes docs/benchmarks.md. Some 30 minutes, or a
# few with BENCH=quick; ROUNDS=, TURNS= and SECONDS= change it. PART=sweep measures and writes the rates
# alone (20 minutes). RATES="20 8000 full", QOS=0 and ONLY="pyboot paho" pick a part of those, and print it.
# What can't be installed is named on the page.
bench: $(BENCH_VENV)/.peers build/bench/node_modules ## side by side with what users would pick instead (docs/benchmarks.md); BENCH=quick
	@packaging/need.sh $(BROKER) $(COMPILER)
	-@packaging/need.sh pkg-config pkg-config /usr/include/mosquitto.h libmosquitto-dev
	@PYTHONPATH=tests:. $(BENCH_VENV)/bin/python -m benchmarks $(PART) $(SWEEP_OPTIONS) \
		$(if $(ONLY),--only $(ONLY)) $(if $(RATES),--rates $(RATES)) \
		$(if $(filter quick,$(BENCH)),--quick)

# What a message costs a worker at some rates, by its CPU time: for a change of the data path, within
# a minute. `make bench-quick RATES="20 8000 full" QOS=0 ROUNDS=5 SECONDS=2 ONLY="pyboot paho"`.
bench-quick: $(VENV)/.test ## what a message costs at some rates, within a minute; RATES=, QOS=, ONLY=
	@packaging/need.sh $(BROKER) $(COMPILER)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks sweep $(SWEEP_OPTIONS) \
		--only $(or $(ONLY),pyboot) --rates $(or $(RATES),100 2000) $(if $(TURNS),,--turns 1)

# Where a worker's CPU time goes at full rate: system calls, context switches, functions.
breakdown: $(BENCH_VENV)/.peers ## where a worker's CPU time goes at full rate
	@packaging/need.sh $(BROKER) $(COMPILER)
	-@packaging/need.sh strace strace
	@PYTHONPATH=tests:. $(BENCH_VENV)/bin/python -m benchmarks.breakdown

$(BENCH_VENV)/.peers: benchmarks/requirements.txt pyproject.toml setup.py
	@PYTHON=$(PYTHON) packaging/need.sh python3-venv python3-venv
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_PIP) --editable .
	-grep -v '^\#' $< | xargs -n 1 $(BENCH_PIP)
	-$(BENCH_PIP) --no-deps --target $(BENCH_VENV)/paho-1.5 paho-mqtt==1.5.1
	@touch $@

build/bench/node_modules: benchmarks/package.json
	-@packaging/need.sh $(NPM)
	@mkdir -p build/bench && cp $< build/bench/
	-cd build/bench && npm install --no-audit --no-fund --loglevel=error
	@mkdir -p $@ && touch $@

# In a booted Debian 13; its root file system is made once and kept in /var/cache/pyboot-test.
# What `make rpm` runs as %check are the tests of `make unit`.
test-system: RPM_OPTIONS := --nocheck
test-system: $(VENV)/.test $(PACKAGES) ## the packages in a booted Debian 13, and the README on a fresh one; needs root
	@packaging/need.sh $(SYSTEM_NEEDS)
	$(AS_ROOT) $(BIN)/pytest $(HOSTS) tests/system tests/security/host

# The same suite where it is not of systemd alone, in a Debian 13 that OpenRC runs.
test-openrc: $(VENV)/.test $(filter deb,$(PACKAGES)) ## the same in a Debian that OpenRC runs; needs root
	@packaging/need.sh $(BOOTED)
	$(AS_ROOT) env PYBOOT_INIT=openrc $(BIN)/pytest $(HOSTS) tests/system tests/security/host -m "not systemd"

# The image, built by buildah and run under systemd-nspawn as an engine would.
test-container: $(VENV)/.test ## the container image; needs root
	@packaging/need.sh $(CONTAINER_NEEDS)
	$(AS_ROOT) $(BIN)/pytest tests/container

$(BIN)/python:
	@PYTHON=$(PYTHON) packaging/need.sh python3-venv python3-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: Python 3.11 is needed (make PYTHON=python3.11 …)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.build: requirements/build.txt | $(BIN)/python
	$(PIP_LOCKED) $<
	@touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml setup.py $(VENV)/.build
	$(PIP_LOCKED) $<
	# A path of its own and no finder, which each start of Python would import.
	$(PIP_INSTALL) --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	$(PIP_LOCKED) $<
	@touch $@

build/oldest/.installed: requirements/oldest.txt | $(VENV)/.build
	rm -rf build/oldest
	$(PIP_LOCKED) $< --no-deps --target build/oldest
	@touch $@

# Beside the tests' environment, since these have requirements of their own.
build/tools/.installed: requirements/tools.txt
	@PYTHON=$(PYTHON) packaging/need.sh python3-venv python3-venv
	rm -rf build/tools
	$(PYTHON) -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement $<
	@touch $@

# uv doesn't read pip's configuration, and asks the same index.
lock: build/tools/.installed ## renew requirements/*.txt and npm's: the newest versions, and the hashes of all their files
	@packaging/need.sh npm npm
	@UV=build/tools/bin/uv packaging/lock.sh

audit: build/tools/.installed ## known vulnerabilities of what requirements/*.txt names; needs the network
	@for file in requirements/run.txt requirements/test.txt requirements/tools.txt; do \
		echo "$$file:"; \
		build/tools/bin/pip-audit --strict --require-hashes --disable-pip --requirement $$file || exit; \
	done

# A .deb in dist/, built from a copy: dpkg wants its folder at the top.
deb: ## dist/pyboot-svc_*.deb
	@packaging/need.sh $(DEB_NEEDS)
	@packaging/build-deb.sh dist

# A .rpm and its .src.rpm in dist/. Built on a Debian it is laid out for a Debian; for Fedora and its
# relatives, build there, or rebuild the .src.rpm there.
rpm: $(VENV)/.test ## dist/pyboot-svc-*.rpm, and the .src.rpm
	@packaging/need.sh $(RPM_NEEDS)
	@PYTEST=$(CURDIR)/$(BIN)/pytest PYTEST_ADDOPTS="$(COMPUTING)" \
		packaging/build-rpm.sh dist $(RPM_OPTIONS)

wheel: $(VENV)/.run ## dist/pyboot_svc-*.whl, and the sdist
	@PYTHON=$(BIN)/python packaging/build-wheel.sh dist

# The container image, by docker, podman or buildah (ENGINE=…), on BASE if it is given.
images: ## the container image, by docker, podman or buildah; ENGINE=, BASE=, IMAGE=
	packaging/build-image.sh $(IMAGE) $(if $(BASE),--build-arg BASE=$(BASE))

# Packages in dist/ are added to those in REPOSITORY, whose key signs all of it.
REPOSITORY ?= dist/repository
repository: ## KEY=: an apt and a dnf repository of what is in dist/, signed; REPOSITORY=folder
	@test -n "$(KEY)" || { echo "which key signs it? make repository KEY=id, or KEY=file" >&2; exit 64; }
	@packaging/need.sh $(SIGNED) rpmsign rpm
	@packaging/build-repository.sh "$(KEY)" dist "$(REPOSITORY)"

# Sets the version, dates the changelogs, commits and tags; pushes nothing.
release: ## VERSION=1.2.3: prepare a release: a commit and a tag, nothing is pushed
	@test -n "$(filter command line,$(origin VERSION))" || { echo "which one? make release VERSION=1.2.3" >&2; exit 64; }
	@$(PYTHON) packaging/release.py $(VERSION)

clean: ## remove what was built, and the virtual environments
	rm -rf $(VENV) $(BENCH_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
