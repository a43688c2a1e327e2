"""From a published message to a published result, through real processes and a real broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Up
from support.client import Plant
from support.poll import until
from support.workers import Workers

MODELS = """
import os
import time

def double(payload):
    return payload * 2

def slow(payload):
    time.sleep(1.0)
    return payload

def mark(payload):
    return os.environ.get("PYBOOT_TEST_MARK")
"""


def test_a_message_becomes_a_result(
    write_config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    edge = (
        f"{{name: double, edge_mode: my_models.double, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    workers(write_config(edge, models=MODELS))
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 21)
    assert plant.wait_for(1) == [42]


def test_pre_queue_is_the_exact_backlog(
    write_config: Callable[..., Path], up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    edge = (
        f"{{name: slow, edge_mode: my_models.slow, pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    master = up(write_config(edge, models=MODELS))
    plant.publish_all(f"{topic}/in", list(range(50)))
    until(lambda: master.instance("slow-1")["counters"]["received"] == 50, "all 50 arrived")
    row = master.instance("slow-1")
    document = master.get("/queue_size_metrics")[1]["queue_size_metrics"]
    assert [item["sub_process_name"] for item in document] == ["sub_process_slow_1"]
    # One is in the model's hands; what else isn't waiting has been processed.
    assert row["pre_queue"] == 50 - 1 - row["counters"]["processed"]
    assert 40 <= document[0]["pre_queue"] <= row["pre_queue"]
    assert Path(f"/proc/{master.pid}/cmdline").read_text().rstrip("\0") == "pyboot: master"


def test_every_worker_gets_the_whole_environment(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    topic: str,
    plant: Plant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYBOOT_TEST_MARK", "complete")
    edge = (
        f"{{name: mark, instance: 8, share: false, edge_mode: my_models.mark, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    workers(write_config(edge, models=MODELS))
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1)
    assert plant.wait_for(8) == ["complete"] * 8


def test_variables_of_the_edge_win_over_ours(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    topic: str,
    plant: Plant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYBOOT_TEST_MARK", "ours")
    edge = (
        f"{{name: mark, edge_mode: my_models.mark, environment: {{PYBOOT_TEST_MARK: its own}}, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    workers(write_config(edge, models=MODELS))
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1)
    assert plant.wait_for(1) == ["its own"]
