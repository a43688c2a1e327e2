"""Secrets of a model under `pyboot up` and `try`: the files themselves, and never their text."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import PYBOOT, Up
from support.client import Plant
from support.workers import Workers

MODELS = """
def tell(payload, context):
    return len(context.secret(payload))
"""
KEY, NEW_KEY = "Osmium-Lathe-7731", "Gasket-Quartz-55"


@pytest.fixture
def config(topic: str, tmp_path: Path, write_config: Callable[..., Path]) -> Path:
    (tmp_path / "api.key").write_text(f"{KEY}\n")
    edge = (
        f"{{name: m, edge_mode: my_models.tell, pre_topic: {topic}, post_topic: {topic}/out, "
        "secrets: {KEY: api.key, GONE: gone.key}, "
        "on_error: {retries: 0}, dead_letter: {topic: TOPIC/dead}}"
    )
    return write_config(edge.replace("TOPIC", topic), models=MODELS)


def test_it_is_read_when_it_is_asked_for(
    config: Path, topic: str, plant: Plant, up: Callable[..., Up], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    master = up(config, "--run-dir", str(run_dir))
    plant.subscribe(f"{topic}/out")
    plant.publish(topic, "KEY")
    plant.wait_for(1)
    (tmp_path / "api.key").write_text(NEW_KEY)
    plant.publish(topic, "KEY")
    assert plant.wait_for(2) == [len(KEY), len(NEW_KEY)]
    compiled = (run_dir / "instances" / "m-1.json").read_text()
    _, rows = master.get("/api/instances")
    assert str(tmp_path / "api.key") in compiled
    for place in (compiled, json.dumps(rows), master.log):
        assert not [key for key in (KEY, NEW_KEY) if key in place]


def test_one_that_is_missing_is_named(
    config: Path, topic: str, plant: Plant, workers: Callable[..., Workers]
) -> None:
    app = workers(config)
    plant.publish(topic, "GONE")
    plant.publish(topic, "OTHER")
    app.wait_log("the secret GONE can't be read: No such file or directory")
    app.wait_log("there is no secret OTHER: name its file in the edge")


def test_try_reads_it(config: Path, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text('"KEY"\n')
    command = [*PYBOOT, "try", "m", "-c", str(config), "--lines", str(tmp_path / "lines")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert str(len(KEY)) in ended.stdout
    assert KEY not in ended.stdout + ended.stderr
