# make run    the demo: a broker, a simulated plant, and the bundled models at work
# make test   everything that has to hold
# Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DURATION ?=
RATE ?= 200
# Some tests mount small disks, and boot a Debian.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: run test lint unit integration chaos chaos-quick soak test-system footprint deb clean

run: $(VENV)/.run
	@packaging/need.sh mosquitto mosquitto
	@$(BIN)/python docs/demo/run.py --rate $(RATE) $(if $(DURATION),--duration $(DURATION))

test: lint unit integration test-system

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pyboot_svc tests benchmarks docs/reference.py docs/demo/run.py docs/demo/plant.py
	$(BIN)/python docs/reference.py --check || \
		{ echo "the README's reference is out of date: $(BIN)/python docs/reference.py" >&2; exit 1; }

unit: $(VENV)/.test
	@packaging/need.sh mosquitto mosquitto
	$(AS_ROOT) $(BIN)/pytest tests/unit

integration: $(VENV)/.test
	@packaging/need.sh mosquitto mosquitto
	@packaging/need.sh openssl openssl
	$(BIN)/pytest tests/integration
	PYBOOT_TEST_DATA_PLANE=plain $(BIN)/pytest tests/integration

# Faults on purpose, every message counted: a part of them in 5 minutes, or all. Needs root.
# `make chaos CHAOS_SEED=N` repeats a run.
chaos-quick: $(VENV)/.test
	@packaging/need.sh mosquitto mosquitto
	$(AS_ROOT) $(BIN)/pytest tests/chaos --chaos=ci

chaos: $(VENV)/.test
	@packaging/need.sh mosquitto mosquitto
	$(AS_ROOT) $(BIN)/pytest tests/chaos --chaos=full
	$(AS_ROOT) env PYBOOT_TEST_DATA_PLANE=plain $(BIN)/pytest tests/chaos --chaos=full

# A million messages: does the worker grow? Prints its figures.
soak: $(VENV)/.test
	@packaging/need.sh mosquitto mosquitto
	@PYTHONPATH=tests $(BIN)/python -m chaos.soak

footprint: $(VENV)/.test
	@packaging/need.sh mosquitto mosquitto
	@PYTHONPATH=tests $(BIN)/python benchmarks/footprint.py

# In a booted Debian 13; its root file system is made once and kept in /var/cache/pyboot-test.
test-system: $(VENV)/.test deb
	@packaging/need.sh mmdebstrap mmdebstrap
	@packaging/need.sh systemd-nspawn systemd-container
	@packaging/need.sh lintian lintian
	$(AS_ROOT) $(BIN)/pytest tests/system

$(BIN)/python:
	@PYTHON=$(PYTHON) packaging/need.sh python3-venv python3-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: Python 3.11 is needed (make PYTHON=python3.11 …)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

# A .deb in dist/, built from a copy: dpkg wants its folder at the top.
deb:
	@packaging/need.sh dh debhelper
	@packaging/need.sh dh_python3 dh-python
	@packaging/need.sh pybuild pybuild-plugin-pyproject
	@packaging/need.sh py3versions python3-all
	@packaging/build-deb.sh dist

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
