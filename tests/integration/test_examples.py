"""Each folder of examples/ does what its messages.txt says, on a real broker."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support.app import run_pyboot
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.workers import Workers

EXAMPLES = Path(__file__).parents[2] / "examples"
Message = tuple[str, bytes]  # topic and payload
NAMES = sorted(file.parent.name for file in EXAMPLES.glob("*/config.yaml"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One of each example's own: their topics are those that stand in the file."""
    running = Broker(tmp_path / "broker").start()
    yield running
    running.stop()


def copied(name: str, folder: Path, port: int) -> Path:
    """The example with another port; gives its configuration."""
    shutil.copytree(EXAMPLES / name, folder)
    file = folder / "config.yaml"
    config = yaml.safe_load(file.read_text())
    if "brokers" in config:
        config["brokers"]["plant"]["port"] = port
    else:
        config["defaults"] = {"pre_port": port, "post_port": port}
    file.write_text(yaml.safe_dump(config))
    return file


def sent_and_expected(name: str) -> tuple[list[Message], list[Message]]:
    lines = (EXAMPLES / name / "messages.txt").read_text().splitlines()
    sent = [_message(line) for line in lines if not line.startswith("-> ")]
    return sent, [_message(line[3:]) for line in lines if line.startswith("-> ")]


def _message(line: str) -> Message:
    topic, _, payload = line.partition(" ")
    return topic, payload.encode()


@pytest.mark.parametrize("name", NAMES)
def test_the_example_gives_what_it_says(
    name: str, tmp_path: Path, broker: Broker, workers: Callable[..., Workers]
) -> None:
    config = copied(name, tmp_path / name, broker.port)
    ended = run_pyboot("check", "--config", str(config), "--models")
    assert ended.returncode == 0, ended.stdout
    workers(config)
    sent, expected = sent_and_expected(name)
    with Plant(broker.port) as plant:
        for topic in {topic for topic, _ in expected}:
            plant.subscribe(topic, 1)
        for topic, payload in sent:
            plant.publish(topic, payload, 1)
        until(lambda: len(plant.received) >= len(expected), "all results")
        assert sorted(plant.received) == sorted(expected)


def test_the_index_names_all_of_them() -> None:
    named = re.findall(r"^\| \[(\w+)\]\((\w+)\)", (EXAMPLES / "README.md").read_text(), re.M)
    assert sorted(named) == [(name, name) for name in NAMES]
