"""The recipes of docs/cookbook.md do what they say, with the libraries that they name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.app import PYBOOT
from support.broker import Broker
from support.client import Plant
from support.pages import ROOT, Block, blocks_of, section_of
from support.workers import Workers

PAGE = ROOT / "docs" / "cookbook.md"
BLOCKS = blocks_of(PAGE)
FILE = re.compile(r"(?:#|//) ([\w.]+)\n")  # the first line of a block that is a file


def block(language: str, containing: str) -> str:
    [found] = [one.text for one in BLOCKS if one.language == language and containing in one.text]
    return found


# -- recipes with commands and what they print


def write_files(blocks: list[Block], folder: Path, changes: dict[str, str] | None = None) -> None:
    for one in blocks:
        name = FILE.match(one.text)
        if name is not None:
            text = one.text
            for shown, real in (changes or {}).items():
                text = text.replace(shown, real)
            (folder / name[1]).write_text(text)


def commands_of(blocks: list[Block]) -> Iterator[tuple[str, list[str]]]:
    """Those that print something, and what it is."""
    for one, following in pairwise(blocks):
        if one.language == "sh" and following.language == "text":
            yield one.text, following.text.splitlines()


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], list[str]]:
    """Runs commands in the test's folder, with this `pyboot` and Python; gives what they print."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, command in (("pyboot", PYBOOT), ("python3", PYBOOT[:1])):
        (programs / name).write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
        (programs / name).chmod(0o755)

    def run(text: str) -> list[str]:
        done = subprocess.run(
            ["sh", "-eu", "-c", text],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def check_commands(blocks: list[Block], shell: Callable[[str], list[str]]) -> None:
    shown = list(commands_of(blocks))
    assert shown
    for commands, wanted in shown:
        printed = shell(commands)
        assert len(printed) == len(wanted), printed
        for found, line in zip(printed, wanted, strict=True):
            topic, _, result = found.partition(" ")
            wanted_topic, _, wanted_result = line.partition(" ")
            assert topic == wanted_topic
            assert_alike(json.loads(result), json.loads(wanted_result))


def assert_alike(found: Any, shown: Any) -> None:
    """The same but for the digits of fractions that nobody wants to read."""
    if isinstance(shown, dict):
        assert list(found) == list(shown)
        for key, value in shown.items():
            assert_alike(found[key], value)
    elif isinstance(shown, list):
        assert len(found) == len(shown)
        for one, value in zip(found, shown, strict=True):
            assert_alike(one, value)
    else:
        assert found == (pytest.approx(shown, abs=0.01) if isinstance(shown, float) else shown)


@pytest.mark.parametrize(
    ("recipe", "libraries"),
    [
        ("scikit-learn", ["sklearn", "joblib", "pandas"]),
        ("river", ["river"]),
        ("Windows by pandas", ["pandas"]),
        ("ONNX", ["onnxruntime", "skl2onnx", "sklearn"]),
        ("A C library", []),
        ("A database", []),
        ("State", []),
        ("Secrets", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recipe_prints_what_it_shows(
    tmp_path: Path, shell: Callable[[str], list[str]], recipe: str, libraries: list[str]
) -> None:
    for library in libraries:
        require(library)
    blocks = section_of(PAGE, recipe)
    write_files(blocks, tmp_path)
    check_commands(blocks, shell)


def test_a_serial_device_answers(tmp_path: Path, shell: Callable[[str], list[str]]) -> None:
    require("serial")
    blocks = section_of(PAGE, "A serial device or a GPU")
    with valve() as port:
        write_files(blocks, tmp_path, {"/dev/ttyUSB0": port})
        check_commands(blocks, shell)


def require(library: str) -> None:
    """In a process of its own: what a library warns of at its import is no test's business."""
    found = subprocess.run(
        [sys.executable, "-c", f"import {library}"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"{library} can't be imported: {found.stderr.strip().splitlines()[-1]}")


@contextmanager
def valve() -> Iterator[str]:
    """A device at the other end of a terminal, whose name is given; it does what it is told."""
    device, port = os.openpty()
    tty.setraw(port)

    def answer() -> None:
        asked = b""
        while not asked.endswith(b"\n"):
            try:
                asked += os.read(device, 100)
            except OSError:
                return
        os.write(device, b"OK " + asked.split()[1] + b"\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield os.ttyname(port)
    finally:
        os.close(port)  # which ends its wait
        thread.join(20)
        os.close(device)


# -- recipes with a broker


def configured(config: str, port: int, **changes: Any) -> str:
    """A configuration of the cookbook, for the test's broker, with the models beside it."""
    parsed = yaml.safe_load(config)
    for edge in parsed["edge"]:
        edge.update({"pre_port": port, "post_port": port, **changes})
    return yaml.safe_dump({"model_path": ".", **parsed})


@pytest.mark.parametrize(
    ("recipe", "model", "sent", "wanted"),
    [
        (
            "name: split",
            "def split(",
            [("loggers/a/all", {"device": "a", "values": {"t": 1, "p": 2}})],
            [("plant/a/t", {"value": 1}), ("plant/a/p", {"value": 2})],
        ),
        (
            "name: rooms",
            "",
            [("zigbee2mqtt/cellar", {"temperature": 8, "battery": 90}), ("zigbee2mqtt/plug", {})],
            [("rooms/cellar", {"device": "cellar", "value": 8.0})],
        ),
        (
            "name: silence",
            "",
            [("heartbeats/a", {"device": "a"})],
            [("plant/silent", {"device": "a", "state": "silent"})],
        ),
        (
            "name: minutes",
            "",
            [("plant/temperature/a", {"ts": at, "temperature": at}) for at in (0, 59, 70)],
            [("plant/minutes", {"device": "plant/temperature/a", "start": 0.0, "mean": 29.5})],
        ),
    ],
    ids=["split", "rooms", "silence", "minutes"],
)
def test_recipes_do_what_they_say(
    tmp_path: Path,
    broker: Broker,
    workers: Callable[..., Workers],
    recipe: str,
    model: str,
    sent: list[tuple[str, Any]],
    wanted: list[tuple[str, dict[str, Any]]],
) -> None:
    if model:
        (tmp_path / "my_models.py").write_text(block("python", model))
    (tmp_path / "config.yaml").write_text(configured(block("yaml", recipe), broker.port))
    workers(tmp_path / "config.yaml")
    with Plant(broker.port) as plant:
        for topic, _ in wanted:
            plant.subscribe(topic)
        for topic, payload in sent:
            plant.publish(topic, payload, 1)
        found = plant.wait_for(len(wanted))
        topics = [topic for topic, _ in plant.received]
    for (topic, part), received, place in zip(wanted, found, topics, strict=True):
        assert place == topic
        assert {key: received[key] for key in part} == part


def test_the_state_survives_a_restart(
    tmp_path: Path, broker: Broker, workers: Callable[..., Workers]
) -> None:
    write_files(section_of(PAGE, "State"), tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(configured(config.read_text(), broker.port))
    with Plant(broker.port) as plant:
        plant.subscribe("meters/+/energy")
        for hours in range(3):
            running = workers(config, "--state-dir", str(tmp_path / "state"))
            for device, power in (("a", 1), ("b", 5)):
                reading = {"device": device, "ts": hours * 3600, "kw": power}
                plant.publish("meters/power", reading, 1)
            plant.wait_for(2 * (hours + 1))
            running.close()
        found = [(one["device"], one["kwh"]) for one in plant.payloads()]
    assert [kwh for device, kwh in found if device == "a"] == [0.0, 1.0, 2.0]
    assert [kwh for device, kwh in found if device == "b"] == [0.0, 5.0, 10.0]


def test_the_clocks_tell_how_late_a_reading_is(
    tmp_path: Path, broker: Broker, workers: Callable[..., Workers]
) -> None:
    write_files(section_of(PAGE, "Time"), tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(configured(config.read_text(), broker.port))
    workers(config)
    with Plant(broker.port) as plant:
        plant.subscribe("plant/lag")
        plant.publish("plant/late/value", {"ts": time.time() - 500}, 1)
        count = 0
        while not any(one["worst_lag"] for one in plant.wait_for(count)):
            count = len(plant.received) + 1
        worst = max(plant.payloads(), key=lambda one: float(one["worst_lag"]))
    assert 500 <= worst["worst_lag"] < 1000
    assert worst["within"] > 0


def test_the_service_answers(
    tmp_path: Path, broker: Broker, workers: Callable[..., Workers]
) -> None:
    (tmp_path / "my_models.py").write_text(block("python", "def convert("))
    config = tmp_path / "config.yaml"
    config.write_text(configured(block("yaml", "name: convert"), broker.port))
    workers(config)
    line = block("sh", "mosquitto_rr")
    [(topic, answers, payload)] = re.findall(r"-t (\S+) -e (\S+) -m '(.*)'", line)
    command = ["mosquitto_rr", "-p", str(broker.port), "-t", topic, "-e", answers, "-m", payload]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == line.partition("# ")[2].strip()


# -- functions alone


def test_models_do_what_they_say() -> None:
    class Context:
        def __init__(self) -> None:
            self.state: dict[str, Any] = {}

    names: dict[str, Any] = {}
    for name in ("every_tenth", "minute_mean"):
        exec(compile(block("python", f"def {name}("), "", "exec"), names)
    tenth, minutes = Context(), Context()
    assert [names["every_tenth"](n, tenth) for n in range(1, 21)].count(None) == 18
    readings = [{"ts": 0, "value": 1}, {"ts": 59, "value": 3}, {"ts": 60, "value": 5}]
    given = [names["minute_mean"](reading, minutes) for reading in readings]
    assert given == [None, None, {"minute": 0, "mean": 2.0}]
