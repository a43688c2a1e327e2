"""What is left of commands that are interrupted while a model is at work, and what they say."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.app import Running, complaints
from support.terminal import Terminal

MODELS = """
import atexit
import os
import subprocess
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

def starts(payload):
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    with open("child", "w") as out:
        out.write(str(child.pid))
    atexit.register(lambda: open("at-exit", "w").close())
    slow(payload)
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
    "up": ("up", "--listen", "127.0.0.1:0"),
}
# Models that are at work for long: where none is called, while it is imported.
WAITING = dict.fromkeys(("try", "bench", "test"), "my_models.slow") | {"check": "slow_import.slow"}
Start = Callable[..., Running]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Its path is short, as those of sockets in it have to be."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Of a command of COMMANDS, with two models that are this one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models.py").write_text(MODELS)
    (tmp_path / "slow_import.py").write_text(SLOW_IMPORT)
    (tmp_path / "lines").write_text("1\n2\n3\n")
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "one.json").write_text('{"model": "m", "input": 1, "output": 1}')

    def write(name: str, model: str) -> list[str]:
        (tmp_path / "config.yaml").write_text(CONFIG.replace("MODEL", model))
        return [*COMMANDS[name], "-c", "config.yaml"]

    return write


@pytest.fixture
def start(
    arguments: Callable[..., list[str]],
    tmp_path: Path,
    temporary: Path,
    track: Callable[[Running], Running],
) -> Start:
    def start(name: str, model: str) -> Running:
        env = {"TMPDIR": str(temporary)}
        return track(Running(tmp_path, *arguments(name, model), env=env))

    return start


def at_work(name: str, start: Start) -> Running:
    running = start(name, WAITING[name])
    running.wait_log("called")
    return running


def printed(running: Running) -> str:
    """All, when it has ended."""
    assert running.process.stdout is not None
    return running.process.stdout.read().decode()


@pytest.mark.parametrize("name", list(WAITING))
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


@pytest.mark.parametrize("name", list(WAITING))
def test_an_interrupt_is_none_of_the_models_faults(
    start: Start, temporary: Path, name: str
) -> None:
    """Sent to all processes of the group, as `timeout -s INT` does, it comes twice to some."""
    running = at_work(name, start)
    os.killpg(running.pid, signal.SIGINT)
    assert running.process.wait(20) == 130
    assert printed(running) == ""
    assert complaints(running.log) == "called\n"
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("name", list(WAITING))
def test_ctrl_c_ends_it(name: str, arguments: Callable[..., list[str]]) -> None:
    with closing(Terminal(*arguments(name, WAITING[name]))) as terminal:
        terminal.wait("called")
        terminal.press("\x03")
        assert terminal.ended() == 130
        shown = terminal.read()
    assert shown.count("called") == 1
    assert "failed" not in shown.lower()


def test_what_a_model_has_started_ends_with_an_interrupt(start: Start, tmp_path: Path) -> None:
    running = start("try", "my_models.starts")
    running.wait_log("called")
    child = int((tmp_path / "child").read_text())
    os.killpg(running.pid, signal.SIGINT)
    running.process.wait(20)
    assert not Path(f"/proc/{child}").exists()
    assert (tmp_path / "at-exit").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_one_that_comes_as_soon_as_up_has_a_folder(
    number: signal.Signals, start: Start, temporary: Path
) -> None:
    """A hangup is a reload, which comes when all is up."""
    running = start("up", "my_models.slow")
    deadline = time.monotonic() + 20
    while not os.listdir(temporary):  # at once, without a pause
        assert time.monotonic() < deadline, running.log
    running.process.send_signal(number)
    if number == signal.SIGHUP:
        running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0
    assert os.listdir(temporary) == []
