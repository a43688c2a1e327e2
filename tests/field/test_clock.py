"""A board without a clock chip: its wall clock steps by years once it has a network."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.broker import free_port
from support.client import Plant
from support.poll import until
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
YEARS = 10 * 365 * 86_400
# Every process of Python that finds this reads its wall clock by the file beside it.
STEPPED = """
import pathlib
import time

_real, _steps = time.time, pathlib.Path(__file__).with_name("steps")
time.time = lambda: _real() + float(_steps.read_text())
"""


class WallClock:
    """The one that the workers see."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._file = folder / "steps"
        (folder / "sitecustomize.py").write_text(STEPPED)
        self.set(0)

    def set(self, seconds: float) -> None:
        """So far from what it is; the file is replaced, for who reads it meanwhile."""
        draft = self._file.with_suffix(".new")
        draft.write_text(str(seconds))
        draft.replace(self._file)


@pytest.fixture
def wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "clock"), prepend=os.pathsep)
    return WallClock(tmp_path / "clock")


@pytest.fixture
def config(write_config: Callable[..., Path], topic: str) -> Path:
    """Its post broker is away for good."""
    edge = (
        f"{{name: m, edge_mode: my_models.same, pre_topic: {topic}/in, pre_qos: 1, "
        f"post_port: {free_port()}, post_topic: {topic}/out, post_qos: 1, "
        "spool: {max_age: 3600}}"
    )
    return write_config(edge, models=MODELS)


@pytest.fixture
def windows(write_config: Callable[..., Path], topic: str) -> Path:
    """Windows of three years: nothing but a step of the clock, or a later reading, closes one."""
    model = "pyboot_svc.models.windows.window_statistics"
    return write_config(
        f"{{name: m, edge_mode: {model}, options: {{size: 1.0e+8}}, pre_topic: {topic}/in, "
        f"pre_qos: 1, post_topic: {topic}/out, post_qos: 1}}"
    )


def spooled(app: Workers) -> Any:
    return app.instance("m-1").get("spooled")


@pytest.mark.parametrize("step", [YEARS, -YEARS])
def test_a_clock_that_steps_makes_no_result_too_old(
    step: int,
    config: Path,
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    wall_clock: WallClock,
    tmp_path: Path,
) -> None:
    wall_clock.set(-step)
    state = tmp_path / "state"
    running = workers(config, "--state-dir", str(state), ready=False)
    running.wait_log("subscribed to")
    plant.publish_all(f"{topic}/in", list(range(100)), 1)
    until(lambda: spooled(running) == 100, "spooled")
    wall_clock.set(0)
    plant.publish(f"{topic}/in", 100, 1)  # old ones are looked for before it is spooled
    until(lambda: spooled(running) == 101, "none is dropped")
    running.close()
    wall_clock.set(step)
    again = workers(config, "--state-dir", str(state), ready=False)
    again.wait_log("subscribed to")
    plant.publish(f"{topic}/in", 101, 1)
    until(lambda: spooled(again) == 102, "nor after a restart")
    with closing(sqlite3.connect(state / "m-1" / "worker.sqlite")) as database:
        count = "SELECT count(*) FROM spool"  # a result counts as spooled while it is being written
        until(lambda: database.execute(count).fetchone() == (102,), "all are on disk")


def counts(plant: Plant) -> list[int]:
    return [result["count"] for result in plant.payloads()]


def test_readings_come_into_windows_when_the_clock_is_set_back(
    windows: Path,
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    wall_clock: WallClock,
    tmp_path: Path,
) -> None:
    plant.subscribe(f"{topic}/out")
    wall_clock.set(YEARS)
    state = tmp_path / "state"
    running = workers(windows, "--state-dir", str(state))
    plant.publish_all(f"{topic}/in", [1, 2], 1)
    until(lambda: running.instance("m-1")["counters"]["nothing_to_publish"] == 2, "both are taken")
    wall_clock.set(0)
    plant.publish(f"{topic}/in", 3, 1)
    plant.wait_for(1)
    running.close()
    wall_clock.set(-YEARS)
    workers(windows, "--state-dir", str(state))
    plant.publish(f"{topic}/in", 4, 1)
    plant.wait_for(2)
    assert counts(plant) == [2, 1]


def test_a_board_that_boots_in_the_past_takes_readings_with_the_right_time(
    windows: Path,
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    wall_clock: WallClock,
) -> None:
    plant.subscribe(f"{topic}/out")
    wall_clock.set(-YEARS)
    workers(windows)
    now = time.time()
    readings = [{"device": "a", "ts": ts, "value": 1} for ts in (now, now, now + 1e8)]
    plant.publish_all(f"{topic}/in", readings, 1)
    plant.wait_for(1)
    assert counts(plant) == [2]
