"""Fixtures of the suites that run workers against a real broker: a conftest imports them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from support.app import Running, Up, data_plane
from support.broker import Broker
from support.client import Plant
from support.workers import Workers

_LINES_TOLD = 60

Tracked = TypeVar("Tracked", Running, Workers)


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """An open broker of this test alone: of another one, the session of `pyboot-m-1` may have kept
    messages, which the next worker of that name would get."""
    running = Broker(tmp_path_factory.mktemp("broker")).start()
    yield running
    running.stop()


@pytest.fixture
def topic() -> str:
    """A topic of this test alone; results go to TOPIC/out."""
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def plant(broker: Broker) -> Iterator[Plant]:
    with Plant(broker.port) as client:
        yield client


@pytest.fixture
def track(request: pytest.FixtureRequest) -> Iterator[Callable[[Tracked], Tracked]]:
    """Registers processes that must be gone after the test, even when it fails, and before its
    broker is."""
    if "broker" in request.fixturenames:
        request.getfixturevalue("broker")
    running: list[Running | Workers] = []

    def add(process: Tracked) -> Tracked:
        running.append(process)
        return process

    yield add
    for process in reversed(running):
        process.close()
        # Shown by pytest where the test failed.
        print(f"{process.log_file}:", *process.log.splitlines()[-_LINES_TOLD:], sep="\n")


@pytest.fixture
def write_config(tmp_path: Path, broker: Broker) -> Callable[..., Path]:
    """Writes config.yaml and models.py: `edges` are YAML flow mappings, each for one edge.

    The broker's address and the models' folder are filled in.
    """

    def write(*edges: str, models: str = "", head: str = "") -> Path:
        (tmp_path / "my_models.py").write_text(models)
        lines = "".join(f"  - {edge}\n" for edge in edges)
        defaults = (
            f"{{pre_broker: 127.0.0.1, pre_port: {broker.port}, "
            f"post_broker: 127.0.0.1, post_port: {broker.port}, data_plane: {data_plane()}}}"
        )
        file = tmp_path / "config.yaml"
        file.write_text(f"{head}\nmodel_path: .\ndefaults: {defaults}\nedge:\n{lines}")
        return file

    return write


@pytest.fixture
def up(tmp_path: Path, track: Callable[[Up], Up]) -> Callable[..., Up]:
    """Starts `pyboot up` on a configuration and waits until all instances are ready."""

    def start(config: Path, *more: str, ready: bool = True) -> Up:
        started = track(Up(tmp_path / "up", config, *more, ready=False))
        if ready:
            started.wait_ready()
        return started

    return start


@pytest.fixture
def workers(tmp_path: Path, track: Callable[[Workers], Workers]) -> Callable[..., Workers]:
    """Starts the instances of a configuration, without a master, and waits until all are ready."""

    def start(config: Path, *more: str, ready: bool = True) -> Workers:
        started = track(Workers(tmp_path / "workers", config, *more))
        if ready:
            started.wait_ready()
        return started

    return start
