"""What is shown of work that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Up
from support.client import Plant
from support.poll import until
from support.terminal import Terminal
from support.workers import Workers

MODELS = """
import time
from pathlib import Path

mended = Path(__file__).with_name("mended")

def fails(payload):
    if not mended.exists():
        raise ValueError("not yet")
    time.sleep(0.05)
    return payload

def slow(payload):
    print("has it", flush=True)
    time.sleep(4)
    return payload
"""
LETTERS = 40


@pytest.fixture
def retry() -> Iterator[Callable[[Path], Terminal]]:
    opened: list[Terminal] = []

    def start(state: Path) -> Terminal:
        opened.append(Terminal("dead", "retry", "m-1", "--all", "--state-dir", str(state)))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def failed(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    state: Path,
) -> Workers:
    """An instance with dead letters, whose model is mended."""
    edge = f"{{name: m, edge_mode: my_models.fails, pre_topic: {topic}, post_topic: {topic}/out}}"
    config = write_config(edge, models=MODELS)
    running = workers(config, "--state-dir", str(state))
    plant.subscribe(f"{topic}/out")
    plant.publish_all(topic, list(range(LETTERS)))
    until(lambda: running.instance("m-1")["errors"].get("model") == LETTERS, "all have failed")
    config.with_name("mended").touch()
    return running


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_a_replay_has_a_bar(
    failed: Workers, state: Path, retry: Callable[[Path], Terminal], plant: Plant
) -> None:
    replay = retry(state)
    assert replay.ended() == 0
    assert plant.wait_for(LETTERS) == list(range(LETTERS))
    assert f"m-1: {LETTERS} will be retried" in replay.read()
    assert f"of {LETTERS} messages".encode() in replay.output
    assert "[" not in replay.read()  # it is gone when it is done


def test_a_replay_whose_worker_is_away_waits_for_nobody(
    failed: Workers, state: Path, retry: Callable[[Path], Terminal]
) -> None:
    assert failed.stop() == 0
    replay = retry(state)
    assert replay.ended() == 0
    left = f"m-1: {LETTERS} are left; its worker goes on with them once it runs"
    assert left in replay.read().replace("\n", " ")


def test_a_stop_says_who_has_ended(
    write_config: Callable[..., Path], up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    edges = [
        f"{{name: {name}, edge_mode: my_models.slow, pre_topic: {topic}/{name}, "
        f"post_topic: {topic}/out}}"
        for name in ("quick", "busy")
    ]
    running = up(write_config(*edges, models=MODELS))
    plant.publish(f"{topic}/busy", 1)
    until(lambda: "has it" in running.log, "it is in the call")
    assert running.stop() == 0
    assert "stopping: 1 of 2 instances have ended" in running.log
