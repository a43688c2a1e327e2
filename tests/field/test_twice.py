"""An instance that is started a second time, beside the one that runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from support.app import Running, Up, run_pyboot
from support.poll import until

MODELS = "def same(payload):\n    return payload\n"


def test_a_second_process_of_an_instance_is_refused_and_disturbs_nobody(
    write_config: Callable[..., Path],
    track: Callable[[Running], Running],
    tmp_path: Path,
    topic: str,
) -> None:
    topics = {"pre_topic": f"{topic}/in", "post_topic": f"{topic}/out"}
    edge = {"name": "m", "edge_mode": "my_models.same", **topics, "pre_qos": 1}
    config = write_config(json.dumps(edge), models=MODELS)
    folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    command = ("worker", "m-1", "--config", str(config), *folders)
    first = track(Running(tmp_path, *command))
    first.wait_log("subscribed to")

    second = run_pyboot(*command)
    assert second.returncode == 69
    assert f"m-1 runs already, as process {first.pid}" in second.stderr
    assert second.stderr.endswith("; stop that one first\n")
    assert "connected" not in second.stderr

    elsewhere = run_pyboot(*command, "--state-dir", str(tmp_path / "elsewhere"))
    assert elsewhere.returncode == 69
    assert "another worker of this instance is already running" in elsewhere.stderr
    assert "connected" not in elsewhere.stderr

    ready = ("health", "m-1", "--ready", *folders[:2])
    until(lambda: run_pyboot(*ready).returncode == 0, "the first one is at work")
    assert first.log.count("broker") == 2  # one connection each way, for good
    assert first.stop() == 0
    third = track(Running(tmp_path / "third", *command))
    third.wait_log("subscribed to")


def test_one_beside_pyboot_up_is_told_what_to_stop(
    write_config: Callable[..., Path], up: Callable[..., Up], tmp_path: Path, topic: str
) -> None:
    edge = {"name": "m", "edge_mode": "my_models.same", "pre_topic": topic, "post_topic": "out"}
    config = write_config(json.dumps(edge), models=MODELS)
    folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    master = up(config, *folders)
    second = run_pyboot("worker", "m-1", "--config", str(config), *folders)
    assert second.returncode == 69
    assert second.stderr.endswith(f"; stop that `pyboot up` first, process {master.process.pid}\n")
