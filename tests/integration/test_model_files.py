"""A bundled model whose file lies in the model path, in a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import run_pyboot
from support.client import Plant
from support.workers import Workers


def write_doubling(file: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="it has no wheel for this Python")
    linear = pytest.importorskip("sklearn.linear_model", reason="it has no wheel for this Python")
    joblib.dump(linear.LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), file)


def test_a_batch_meets_the_file_that_lies_in_the_model_path(
    tmp_path: Path,
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
) -> None:
    write_doubling(tmp_path / "double.joblib")
    config = write_config(
        f"{{name: edge, edge_mode: pyboot_svc.models.joblib.joblib_model, batch: {{}}, "
        f"pre_qos: 1, post_qos: 1, pre_topic: {topic}/in, post_topic: {topic}/out, "
        "options: {file: double.joblib}}"
    )
    running = workers(config)
    assert running.instance("edge-1")["code"]
    plant.subscribe(f"{topic}/out")
    plant.publish_all(f"{topic}/in", [[number] for number in range(100)], 1)
    found = [result["prediction"] for result in plant.wait_for(100)]
    assert found == pytest.approx([2 * number for number in range(100)], abs=1e-9)


def test_a_file_that_is_missing_is_an_error_of_the_configuration(
    write_config: Callable[..., Path], tmp_path: Path, topic: str
) -> None:
    pytest.importorskip("onnxruntime", reason="it has no wheel for this Python")
    config = write_config(
        "{name: edge, edge_mode: pyboot_svc.models.onnx.onnx_model, options: {file: no.onnx}, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    ended = run_pyboot(
        *("worker", "edge-1", "--config", str(config)),
        *("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")),
    )
    assert ended.returncode == 78
    assert f"`file`: {tmp_path}/no.onnx: there is no such file: put it there" in ended.stderr
