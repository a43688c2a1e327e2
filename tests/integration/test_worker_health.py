"""What a real worker says of itself at its health socket, and `pyboot health` makes of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import Running, Up, run_pyboot
from support.client import Plant
from support.poll import until

from pyboot_svc.bench.threads import gil_enabled

MODELS = """
import re, signal, threading, time

def same(payload):
    return payload

def endless_loop(payload):
    while payload == "hang":
        pass

def held_gil(payload):
    if payload == "hang":
        re.match("(a+)+$", "a" * 60 + "b")

def deadlock(payload):
    from pyboot_svc.worker.mqtt.inbox import MqttInbox
    MqttInbox.on_messages = lambda self, batch: threading.Event().wait()

def stuck_main(payload):
    from pyboot_svc.worker import main
    main.TICK_SECONDS = 0.5  # so long a main thread may be silent
    time.sleep(2)  # until it has heard
    main.Pipeline.tick = lambda self: threading.Event().wait()

class Expired(BaseException):
    pass

def alarmed(payload):
    def expired(number, frame):
        raise Expired
    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    return payload

class Big:
    def __init__(self):
        time.sleep(600)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def worker(
    write_config: Callable[..., Path],
    track: Callable[[Running], Running],
    tmp_path: Path,
    run_dir: Path,
    topic: str,
) -> Callable[..., Running]:
    """Starts the worker m-1 of a model, from TOPIC/in to TOPIC/out."""

    def start(model: str, **more: Any) -> Running:
        topics = {"pre_topic": f"{topic}/in", "post_topic": f"{topic}/out"}
        edge = {"name": "m", "edge_mode": f"my_models.{model}", **topics, **more}
        config = write_config(json.dumps(edge), models=MODELS)
        folders = ["--run-dir", str(run_dir), "--state-dir", str(tmp_path / "state")]
        return track(Running(tmp_path, "worker", "m-1", "--config", str(config), *folders))

    return start


@pytest.fixture
def health(run_dir: Path) -> Callable[..., tuple[int, Any]]:
    """Exit code and JSON of `pyboot health m-1`."""

    def ask(*arguments: str) -> tuple[int, Any]:
        done = run_pyboot("health", "m-1", "--json", "--run-dir", str(run_dir), *arguments)
        return done.returncode, json.loads(done.stdout)

    return ask


Worker = Callable[..., Running]
Health = Callable[..., tuple[int, Any]]


def test_a_worker_that_can_work_is_ready_until_it_ends(worker: Worker, health: Health) -> None:
    running = worker("same")
    until(lambda: health("--ready")[0] == 0, "it is ready")
    code, answer = health()
    assert code == 0
    assert answer == {
        "instance": "m-1",
        **dict.fromkeys(("alive", "loaded", "started", "ready"), True),
        "reasons": [],
        "stalls": [],
    }
    assert running.stop() == 0
    code, answer = health()
    assert code == 1
    assert "it isn't running" in answer["reasons"][0]


def test_one_that_loads_its_model_is_alive(worker: Worker, health: Health) -> None:
    worker("Big")
    until(lambda: health()[0] == 0, "it is alive")
    code, answer = health("--ready")
    assert code == 1
    assert answer["reasons"] == ["the model is being loaded"]
    assert not answer["started"]


def test_one_without_its_broker_is_alive_and_says_why_it_is_not_ready(
    worker: Worker, health: Health
) -> None:
    worker("same", post_port=9)
    until(lambda: health()[1]["started"], "it has subscribed")
    assert health()[0] == 0
    code, answer = health("--ready")
    assert code == 1
    assert answer["reasons"] == [
        "post broker 127.0.0.1:9: connection refused (is a broker listening there?)"
    ]


def test_a_killed_worker_is_noticed_and_its_socket_replaced(worker: Worker, health: Health) -> None:
    running = worker("same")
    until(lambda: health("--ready")[0] == 0, "it is ready")
    running.stop(signal.SIGKILL)
    code, answer = health()
    assert code == 1
    assert "it was killed" in answer["reasons"][0]
    worker("same")
    until(lambda: health("--ready")[0] == 0, "it is ready again")


def test_one_without_a_folder_for_its_socket_says_so_and_works(
    worker: Worker, run_dir: Path, plant: Plant, topic: str
) -> None:
    run_dir.mkdir()
    (run_dir / "workers").write_text("in the way")
    running = worker("same")
    running.wait_log("`pyboot health` can't see how this instance does")
    running.wait_log("subscribed to")
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1)
    assert plant.wait_for(1) == [1]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("endless_loop", "exceed model_timeout and use the processor"),
        pytest.param(
            *("held_gil", "no answer within 1 s"),
            marks=pytest.mark.skipif(not gil_enabled(), reason="there is no GIL to hold"),
        ),
        ("deadlock", "thread pre made no progress"),
        ("stuck_main", "the main thread made no progress"),
    ],
)
def test_a_worker_that_hangs_is_not_alive(
    worker: Worker, health: Health, plant: Plant, topic: str, model: str, reason: str
) -> None:
    running = worker(model, model_timeout=1 if model == "endless_loop" else 60)
    until(lambda: health("--ready")[0] == 0, "it is ready")

    plant.publish(f"{topic}/in", "hang")

    def hangs() -> bool:
        if model == "deadlock":  # the next message meets what the first one has prepared
            plant.publish(f"{topic}/in", "hang")
        code, answer = health("--timeout", "1")
        return code == 1 and reason in str(answer)

    until(hangs, "it is seen to hang", timeout=40)
    running.process.kill()


def test_what_a_models_signal_handler_raises_later_ends_it_in_order(
    worker: Worker, health: Health, plant: Plant, topic: str
) -> None:
    running = worker("alarmed")
    until(lambda: health("--ready")[0] == 0, "it is ready")
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1)
    assert plant.wait_for(1) == [1]
    assert running.process.wait(30) == 70
    assert "internal error" in running.log
    assert "m-1: stopped\n" in running.log


def test_the_children_of_pyboot_up_answer_as_well(
    write_config: Callable[..., Path], up: Callable[..., Up], run_dir: Path, topic: str
) -> None:
    topics = {"pre_topic": f"{topic}/in", "post_topic": f"{topic}/out"}
    edge = {"name": "m", "edge_mode": "my_models.same", "instance": 2, **topics}
    up(write_config(json.dumps(edge), models=MODELS), "--run-dir", str(run_dir))
    done = run_pyboot("health", "--ready", "--run-dir", str(run_dir))
    assert (done.returncode, done.stdout) == (0, "m-1: ready\nm-2: ready\n")
