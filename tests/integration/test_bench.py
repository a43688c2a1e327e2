"""`pyboot bench` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import complaints, run_pyboot

from pyboot_svc.bench.threads import gil_enabled

MODELS = """
def mean(payload):
    return sum(payload) / len(payload)
"""
EDGE = "{name: mean, edge_mode: my_models.mean, pre_topic: in/+, post_topic: out}"


@pytest.fixture
def arguments(write_config: Callable[..., Path], tmp_path: Path) -> list[str]:
    messages = tmp_path / "messages"
    messages.write_text("[1, 2]\n[3, 4, 5]\n[]\n")
    config = str(write_config(EDGE, models=MODELS))
    return ["mean", "--config", config, "--payload", str(messages), "--lines", "--seconds", "0.3"]


def test_figures_for_programs(arguments: list[str]) -> None:
    ended = run_pyboot("bench", *arguments, "--rate", "10", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["payloads"] == 3
    assert found["failed"]["model"] == pytest.approx(found["messages"] / 3, abs=1)
    assert "ZeroDivisionError" in found["first_error"]
    assert found["need"]["instances"] >= 1
    assert set(found["instance_rate"]) >= {"1", "2", "4"}
    assert found["gil"] is gil_enabled()
    assert found["cpu_us"]["total"] > 0
    assert complaints(ended.stderr) == ""  # no terminal, no bar


def test_figures_for_people(arguments: list[str]) -> None:
    ended = run_pyboot("bench", *arguments, "--rate", "1e9")
    assert ended.returncode == 0, ended.stderr
    for text in ("one call", "CPU per message", "as configured", "failed:", "too few"):
        assert text in ended.stdout


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("mean", "other"), 64, "configured: mean"),
        (("--payload", "--model-path"), 64, "mosquitto_sub -h 127.0.0.1"),
        (("messages", "absent"), 64, "can't be read"),
        (("--lines", "--json"), 78, "not JSON"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], change: tuple[str, str], code: int, said: str
) -> None:
    before, after = change
    changed = [
        after if argument == before else argument.replace(f"/{before}", f"/{after}")
        for argument in arguments
    ]
    ended = run_pyboot("bench", *changed)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_empty_file(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "messages").write_text("\n")
    ended = run_pyboot("bench", *arguments)
    assert ended.returncode == 64
    assert "no non-empty line" in ended.stderr
