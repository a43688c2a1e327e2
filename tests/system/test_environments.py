"""Models in Python environments of their own, as services: under the sandbox, and rolled."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any

import pytest
from fleet import config, edge, set_up, unit, wait_active
from machine import Machine

MODELS = """
import os
import sys

import orjson
import paho.mqtt
import stand_in

def tells(payload):
    seen = {}
    for home in ("/root", "/home"):
        try:
            seen[home] = os.listdir(home)
        except OSError:
            seen[home] = "hidden"
    return {"stand_in": stand_in.__version__, "paho": paho.mqtt.__version__, "prefix": sys.prefix,
            "extension": orjson.__file__, "homes": seen}
"""
VENV = "/srv/the model's own/venv"
# A Python of its own in a home, as pyenv and uv put it there.
HOME = "/root/pythons/other"
IN_HOME = "/root/venvs/model"


def add(machine: Machine, environment: str, name: str, version: str) -> None:
    """A package of one module, as pip leaves it."""
    site = _site(environment)
    place = name.replace(".", "/")
    machine.sh(
        f"rm -rf {site}/{name}-*.dist-info {site}/{place}/__pycache__ && "
        f"mkdir -p {site}/{place} {site}/{name}-{version}.dist-info && "
        f"touch {site}/{place.partition('/')[0]}/__init__.py && "
        f'echo "__version__ = \\"{version}\\"" >{site}/{place}/__init__.py'
    )


def make(machine: Machine, python: str, environment: str) -> None:
    machine.sh(
        f"rm -rf {quote(environment)} && {python} -m venv --without-pip {quote(environment)} && "
        f"cp -r /usr/lib/python3/dist-packages/orjson {_site(environment)}"
    )
    add(machine, environment, "stand_in", "4.2")
    add(machine, environment, "paho.mqtt", "1.6.1")


def _site(environment: str) -> str:
    """For a shell."""
    return f'"$(echo {quote(environment)}/lib/python3.*/site-packages)"'


def answer(machine: Machine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.ask(f"{name}/in", f"{name}/out", "1"))
    return found


def plan(machine: Machine) -> str:
    """What it says of the first instance."""
    return machine.run("pyboot", "plan", check=False).stdout.splitlines()[0]


@pytest.fixture
def running(machine: Machine) -> None:
    make(machine, "python3", VENV)
    set_up(machine, config(edge("apart", model="tells", python=VENV)), MODELS)
    machine.reload()
    machine.control("start", "apart-1")
    wait_active(machine, "apart-1")


@pytest.mark.usefixtures("running")
def test_the_models_libraries_are_those_of_its_environment(machine: Machine) -> None:
    found = answer(machine, "apart")
    assert (found["stand_in"], found["paho"], found["prefix"]) == ("4.2", "1.6.1", VENV)
    assert found["extension"].startswith(f"{VENV}/")
    assert plan(machine) == "unchanged  apart-1"
    assert machine.pid("apart-1") > 0


@pytest.mark.usefixtures("running")
def test_a_change_of_the_environment_is_planned_and_rolled(machine: Machine) -> None:
    pid = machine.pid("apart-1")
    add(machine, VENV, "stand_in", "5.0")
    changed = "its environment changed: stand_in 4.2 → 5.0"
    assert plan(machine) == f"restart    apart-1  ({changed})"
    machine.reload()
    wait_active(machine, "apart-1")
    assert answer(machine, "apart")["stand_in"] == "5.0"
    assert machine.pid("apart-1") != pid


@pytest.mark.usefixtures("running")
def test_an_environment_that_lacks_something_replaces_nothing(machine: Machine) -> None:
    pid = machine.pid("apart-1")
    machine.sh(f"rm -r {_site(VENV)}/stand_in*")
    done = machine.reload(check=False)
    assert "No module named 'stand_in'" in machine.said(done)
    assert machine.pid("apart-1") == pid
    assert answer(machine, "apart")["stand_in"] == "4.2"


def test_making_one_says_what_is_missing_on_a_small_debian(machine: Machine) -> None:
    machine.write("/var/tmp/requirements.txt", "stand-in\n")
    create = ("pyboot", "venv", "create", "ml", "--requirements", "/var/tmp/requirements.txt")
    done = machine.run(*create, check=False)
    assert done.returncode == 69
    assert "sudo apt install python3-venv" in done.stderr
    assert machine.sh("ls -A /var/lib/pyboot/venvs") == ""


@pytest.mark.systemd
def test_one_below_a_home_is_opened_and_nothing_beside_it(machine: Machine) -> None:
    machine.sh(
        f"mkdir -p {HOME}/bin {HOME}/lib /root/private && "
        f"cp $(readlink -f /usr/bin/python3) {HOME}/bin/ && "
        f"cp -r /usr/lib/python3.1[0-9] {HOME}/lib/"
    )
    make(machine, f"$(echo {HOME}/bin/python3.*)", IN_HOME)
    set_up(machine, config(edge("home", model="tells", python=IN_HOME)), MODELS)
    machine.reload()
    wait_active(machine, "home-1")
    found = answer(machine, "home")
    assert (found["prefix"], found["paho"]) == (IN_HOME, "1.6.1")
    assert found["extension"].startswith(f"{IN_HOME}/")
    assert sorted(found["homes"]["/root"]) == ["pythons", "venvs"]
    assert found["homes"]["/home"] == []
    machine.run("systemd-analyze", "security", "--threshold=10", unit("home-1"))
