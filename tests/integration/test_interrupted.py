"""What is left of commands that are interrupted while a model is at work, and what they say."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Running

MODELS = """
import os
import sys
import time

def told(word):
    print(word, file=sys.stderr, flush=True)

def slow(payload):
    told("called")
    time.sleep(60)
    return payload

def ends(payload):
    os._exit(3)
"""
SLOW_IMPORT = "from my_models import *\ntold('called')\ntime.sleep(60)\n"
CONFIG = """
model_path: .
defaults: {pre_broker: 127.0.0.1, post_broker: 127.0.0.1}
edge:
  - {name: m, edge_mode: MODEL, pre_topic: in, post_topic: out}
  - {name: n, edge_mode: MODEL, pre_topic: in, post_topic: out}
"""
COMMANDS = {
    "check": ("check", "--models"),
    "try": ("try", "m", "--lines", "lines"),
    "bench": ("bench", "m", "--payload", "lines", "--lines"),
    "test": ("test",),
}
Start = Callable[..., Running]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def start(
    tmp_path: Path,
    temporary: Path,
    track: Callable[[Running], Running],
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """Starts a command of COMMANDS with two models that are this one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models.py").write_text(MODELS)
    (tmp_path / "slow_import.py").write_text(SLOW_IMPORT)
    (tmp_path / "lines").write_text("1\n2\n3\n")
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "one.json").write_text('{"model": "m", "input": 1, "output": 1}')

    def start(name: str, model: str) -> Running:
        (tmp_path / "config.yaml").write_text(CONFIG.replace("MODEL", model))
        command, *more = COMMANDS[name]
        env = {"TMPDIR": str(temporary)}
        return track(Running(tmp_path, command, *more, "-c", "config.yaml", env=env))

    return start


def at_work(name: str, start: Start) -> Running:
    running = start(name, "slow_import.slow" if name == "check" else "my_models.slow")
    running.wait_log("called")
    return running


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["term", "hup"]
)
def test_a_signal_leaves_no_temporary_files(
    name: str, number: signal.Signals, code: int, start: Start, temporary: Path
) -> None:
    assert at_work(name, start).stop(number) == code
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("name", ["try", "bench", "test"])
def test_a_model_that_ends_its_process_leaves_none(
    name: str, start: Start, temporary: Path
) -> None:
    assert start(name, "my_models.ends").process.wait(20) == 3
    assert os.listdir(temporary) == []
