"""`pyboot up` takes on what is saved, with --reload or on SIGHUP, and keeps what works."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import PYBOOT, Up
from support.client import Plant
from support.poll import until

from pyboot_svc.errors import ExitCode

MODEL = "def answer(payload):\n    return {}\n"
ECHO = "def answer(payload):\n    return payload  # {}\n"
DONE = "reloaded: all instances are as configured"
EDGE = (
    "{{name: m, edge_mode: my_models.answer, pre_topic: {topic}/in, post_topic: {topic}/out, "
    "pre_qos: 1, post_qos: 1, instance: {count}}}"
)


class Project:
    """A configuration with one model, which are saved as editors do; and `pyboot up` of it."""

    def __init__(self, write_config: Callable[..., Path], start: Callable[..., Up], topic: str):
        self._write_config = write_config
        self._start = start
        self._topic = topic
        self.configure(1)

    def configure(self, count: int) -> None:
        edge = EDGE.format(topic=self._topic, count=count)
        self.config = self._write_config(edge, models=MODEL.format(1))
        self.models = self.config.parent / "my_models.py"

    def save(self, text: str) -> None:
        draft = self.models.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.models)

    def up(self, *options: str, ready: bool = True) -> Up:
        return self._start(self.config, *options, ready=ready)


@pytest.fixture
def project(write_config: Callable[..., Path], up: Callable[..., Up], topic: str) -> Project:
    return Project(write_config, up, topic)


@pytest.fixture
def ask(plant: Plant, topic: str) -> Callable[[Any], None]:
    """Waits until the model gives this answer."""
    plant.subscribe(f"{topic}/out")

    def until_it_says(answer: Any) -> None:
        def says() -> bool:
            before = len(plant.received)
            plant.publish(f"{topic}/in", 0, 1)
            until(lambda: len(plant.received) > before, "an answer")
            return bool(plant.payloads()[-1] == answer)

        until(says, f"the answer {answer}")

    return until_it_says


def pid_of(up: Up, name: str) -> int | None:
    rows = up.get("/api/instances")[1]["instances"]
    found = [(row["service"] or {}).get("pid") for row in rows if row["instance"] == name]
    return found[0] if found else None


def test_a_saved_model_is_taken_on_and_a_typo_is_not(
    project: Project, ask: Callable[[Any], None]
) -> None:
    up = project.up("--reload")
    ask(1)
    project.save(MODEL.format(2))
    ask(2)
    up.wait_log("restart    m-1  (model's code changed: my_models.py)")
    pid = pid_of(up, "m-1")
    project.save("def answer(payload) return 3\n")
    up.wait_log("m stays as it is: its new code can't be loaded")
    up.wait_log("SyntaxError")
    project.save("1 / 0\n")
    up.wait_log("ZeroDivisionError")
    project.save("def answr(payload): ...\n")
    up.wait_log("did you mean 'answr'?")
    ask(2)
    assert pid_of(up, "m-1") == pid
    project.save(MODEL.format(3))
    ask(3)
    assert up.stop() == ExitCode.OK


def test_a_saved_configuration_is_taken_on_and_a_wrong_one_is_not(
    project: Project, ask: Callable[[Any], None]
) -> None:
    up = project.up("--reload")
    ask(1)
    good = project.config.read_text()
    project.config.write_text(good.replace("edge_mode", "edge_mood"))
    up.wait_log("the configuration was not reloaded; the old one stays")
    up.wait_log("edge_mood")
    ask(1)
    project.config.unlink()  # as by an editor that writes it anew
    project.config.write_text(good.replace("instance: 1", "instance: 2"))
    until(lambda: pid_of(up, "m-2"), "a second instance")
    up.wait_ready()


def test_a_model_that_could_not_be_loaded_at_first_is_started_when_it_is_mended(
    project: Project, ask: Callable[[Any], None]
) -> None:
    project.save("def answer(payload) return 1\n")
    up = project.up("--reload", ready=False)
    up.wait_log("not restarting")
    project.save(MODEL.format(1))
    up.wait_ready()
    ask(1)


def test_what_is_unchanged_is_not_touched(project: Project, ask: Callable[[Any], None]) -> None:
    up = project.up("--reload")
    ask(1)
    pid = pid_of(up, "m-1")
    project.save(MODEL.format(1))
    up.process.send_signal(signal.SIGHUP)
    up.wait_log("reloaded the configuration")
    ask(1)
    assert pid_of(up, "m-1") == pid
    assert "to do" not in up.log


BROKEN: dict[str, Callable[[bytes], bytes | None]] = {
    "a trap": lambda good: good.replace(b"instance: 1", b"options: {at: 22:30}"),
    "no YAML": lambda good: good + b"]",
    "empty": lambda good: b"",
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "a name twice": lambda good: good + b"  - " + good.partition(b"  - ")[2],
    "missing": lambda good: None,
}


def test_of_a_configuration_that_can_not_be_loaded_only_the_error_is_said(
    project: Project,
) -> None:
    up = project.up()
    good = project.config.read_bytes()
    for number, break_it in enumerate(BROKEN.values(), 1):
        broken = break_it(good)
        project.config.write_bytes(broken or b"")
        if broken is None:
            project.config.unlink()
        up.process.send_signal(signal.SIGHUP)
        until(lambda n=number: up.log.count("the old one stays") == n, "an error")  # type: ignore[misc]
    project.config.write_bytes(good)
    up.process.send_signal(signal.SIGHUP)
    up.wait_log(DONE)
    assert up.log.count(DONE) == 1
    assert up.log.count("reloaded the configuration") == 1


def test_an_instance_more_and_fewer_and_no_message_is_lost(
    project: Project, plant: Plant, topic: str
) -> None:
    project.save(ECHO.format(0))
    up = project.up()
    plant.subscribe(f"{topic}/out")
    sent = 0
    for turn, count in enumerate((3, 3, 2, 1), 1):
        project.configure(count)
        project.save(ECHO.format(turn))
        sent += 200
        plant.publish_soon(f"{topic}/in", list(range(sent - 200, sent)), 1)
        up.process.send_signal(signal.SIGHUP)
        until(lambda turn=turn: up.log.count(DONE) == turn, "it is done")  # type: ignore[misc]
        assert ready(up) == {f"m-{number}" for number in range(1, count + 1)}
    until(lambda: set(plant.payloads()) == set(range(sent)), "all results")
    assert up.stop() == ExitCode.OK


def ready(up: Up) -> set[str]:
    rows = up.get("/api/instances")[1]["instances"]
    return {row["instance"] for row in rows if row["state"] == "ready"}


def test_the_end_of_the_terminal_is_no_reload(project: Project, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["setsid", "--ctty", *PYBOOT, "up", "-c", str(project.config)],
            stdin=theirs,
            stdout=out,
            stderr=out,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
    os.close(theirs)
    try:
        until(lambda: "subscribed to" in log.read_text(), "it is at work")
        process.send_signal(signal.SIGHUP)
        until(lambda: "reloaded the configuration" in log.read_text(), "it reloads")
        os.close(ours)
        assert process.wait(60) == ExitCode.OK
    finally:
        process.kill()
        process.wait()
