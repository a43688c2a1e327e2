"""`pyboot trace` of a real worker: what it shows, and that no message is the worse for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.app import PYBOOT, Up, run_pyboot
from support.client import Plant
from support.poll import until

MESSAGES = 20_000
EDGE = (
    "{{name: some, edge_mode: my_models.some, pre_topic: {topic}/in/+, post_topic: {topic}/out, "
    "pre_qos: 1, post_qos: 1, queue: {{pre: 50000, post: 50000}}}}"
)
MODELS = """
def some(payload):
    if payload == "bad":
        raise ValueError("it is bad")
    return None if payload == "nothing" else payload
"""

Trace = Callable[..., "Tracing"]


class Tracing:
    """`pyboot trace` at work, with what it says in a file."""

    def __init__(self, folder: Path, number: int, *arguments: str) -> None:
        self.file = folder / f"trace-{number}"
        with self.file.open("wb") as output:
            self.process = subprocess.Popen(
                [*PYBOOT, "trace", *arguments],
                stdout=output,
                env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
            )

    def lines(self) -> list[dict[str, Any]]:
        """All, once it has ended."""
        self.process.wait(30)
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def worker(
    write_config: Callable[..., Path], up: Callable[..., Up], topic: str, tmp_path: Path
) -> Up:
    return up(
        write_config(EDGE.format(topic=topic), models=MODELS), "--run-dir", str(tmp_path / "run")
    )


def socket_of(folder: Path) -> Path:
    return folder / "run" / "workers" / "some-1" / "trace.sock"


@pytest.fixture
def trace(worker: Up, tmp_path: Path) -> Iterator[Trace]:
    started: list[Tracing] = []

    def start(*arguments: str) -> Tracing:
        more = (*arguments, "--run-dir", str(tmp_path / "run"), "--json")
        started.append(Tracing(tmp_path, len(started), *more))
        return started[-1]

    yield start
    for one in started:
        one.close()


def watched(worker: Up, folder: Path, wish: dict[str, Any]) -> socket.socket:
    """A connection that looks, as `pyboot trace` makes one, once it does."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(socket_of(folder)))
    connection.sendall(json.dumps(wish).encode() + b"\n")
    assert json.loads(connection.recv(1000)) == {"watching": True}
    return connection


def again(plant: Plant, tracing: Tracing, publish: Callable[[], None]) -> list[dict[str, Any]]:
    """Publish until it has seen enough: nobody knows when it begins to look."""
    deadline = time.monotonic() + 30
    while tracing.process.poll() is None:
        assert time.monotonic() < deadline
        publish()
        time.sleep(0.05)
    return [one for one in tracing.lines() if "skipped" not in one]


def test_what_is_shown(worker: Up, trace: Trace, plant: Plant, topic: str) -> None:
    [shown] = again(
        plant, trace("some-1", "-n", "1"), lambda: plant.publish(f"{topic}/in/a", {"v": 1}, 1)
    )
    assert shown["instance"] == "some-1"
    assert shown["topic"] == f"{topic}/in/a"
    assert json.loads(shown["input"]) == json.loads(shown["result"]) == {"v": 1}
    assert (shown["end"], shown["to"]) == ("published", f"{topic}/out")
    assert set(shown["ms"]) == {"wait", "model", "out"}
    assert all(0 <= took < 30_000 for took in shown["ms"].values())


def test_errors_and_topics(worker: Up, trace: Trace, plant: Plant, topic: str) -> None:
    def publish() -> None:
        for payload in ("well", "bad", "nothing"):
            plant.publish(f"{topic}/in/a", payload, 1)
        plant.publish(f"{topic}/in/b", "well", 1)

    [bad] = again(plant, trace("some", "--errors", "-n", "1"), publish)
    assert bad["end"] == "dead letter"
    assert bad["input"] == '"bad"'
    assert bad["error"].startswith("model: ")
    assert "ValueError: it is bad" in bad["error"]
    only = again(plant, trace("some", "--topic", "+/+/in/b", "-n", "3"), publish)
    assert {one["topic"] for one in only} == {f"{topic}/in/b"}
    some = again(plant, trace("some", "--topic", f"{topic}/in/a", "-n", "9"), publish)
    assert {one["end"] for one in some} == {"published", "dead letter", "nothing to publish"}


def test_who_reads_slowly_holds_nothing_up(
    worker: Up, plant: Plant, topic: str, tmp_path: Path
) -> None:
    """One reads next to nothing meanwhile: nothing is lost, doubled or out of order."""
    plant.subscribe(f"{topic}/out", 1)
    slow = watched(worker, tmp_path, {"topic": None, "errors": False})
    heard = bytearray()
    all_are_there = Event()

    def read_a_little() -> None:
        """All the time: who reads nothing for 20 s is left alone."""
        while not all_are_there.wait(0.05):
            heard.extend(slow.recv(64))

    with slow, ThreadPoolExecutor() as pool:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader = pool.submit(read_a_little)
        try:
            plant.publish_all(f"{topic}/in/a", list(range(MESSAGES)), 1)
            until(lambda: len(plant.received) >= MESSAGES, "all results are there", 120)
            until(lambda: worker.instance("some-1")["unacknowledged"] == 0, "all are acknowledged")
        finally:
            all_are_there.set()
        reader.result(30)
        assert plant.payloads() == list(range(MESSAGES))
        found: Counter[str] = Counter()
        with slow.makefile("rb") as rest:
            heard += rest.readline()  # of one it has heard the beginning
            lines = chain(bytes(heard).splitlines(), rest)
            while found["skipped"] + found["shown"] < MESSAGES:
                line = json.loads(next(lines))
                found["skipped"] += line.get("skipped", 0)
                found["shown"] += "skipped" not in line
    assert found.total() == MESSAGES
    assert found["shown"] > 0 < found["skipped"]


def test_several_look_and_are_stopped_and_the_worker_is_killed(
    worker: Up, trace: Trace, plant: Plant, topic: str
) -> None:
    looking = [trace("some-1"), trace("some"), trace("some", "--topic", "+/+/in/a")]

    def all_look() -> bool:
        plant.publish(f"{topic}/in/a", "first", 1)
        return all(one.file.stat().st_size for one in looking)

    def numbers() -> list[Any]:
        return [payload for payload in plant.payloads() if payload != "first"]

    until(all_look, "all look")
    plant.subscribe(f"{topic}/out", 1)
    for one in looking[1:]:
        one.process.send_signal(signal.SIGSTOP)
    plant.publish_all(f"{topic}/in/a", list(range(MESSAGES)), 1)
    until(lambda: len(plant.received) >= MESSAGES <= len(numbers()), "all results are there", 120)
    assert numbers() == list(range(MESSAGES))
    until(lambda: worker.instance("some-1")["unacknowledged"] == 0, "all are acknowledged")
    os.kill(worker.instance("some-1")["pid"], signal.SIGKILL)
    for one in looking[1:]:
        one.process.send_signal(signal.SIGCONT)
    assert [one.process.wait(20) for one in looking] == [69, 69, 69]
    assert all(one.lines()[0]["input"] == '"first"' for one in looking)


def test_ctrl_c_is_its_usual_end(worker: Up, trace: Trace, plant: Plant, topic: str) -> None:
    looking = trace("some-1")

    def looks() -> int:
        plant.publish(f"{topic}/in/a", "well", 1)
        return looking.file.stat().st_size

    until(looks, "it looks")
    looking.process.send_signal(signal.SIGINT)
    assert looking.process.wait(20) == 0


def test_no_more_than_a_few_look_at_a_time(worker: Up, tmp_path: Path) -> None:
    looking = [watched(worker, tmp_path, {}) for _ in range(4)]
    refused = run_pyboot("trace", "some-1", "--run-dir", str(tmp_path / "run"))
    assert refused.returncode == 69
    assert "others look already" in refused.stderr
    for one in looking:
        one.close()

    def admitted() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(socket_of(tmp_path)))
            connection.sendall(b"{}\n")
            return b"watching" in connection.recv(1000)

    until(admitted, "there is room again")


def test_nonsense_ends_the_connection_alone(worker: Up, tmp_path: Path) -> None:
    for nonsense in (b"", b"\n", b"{\n", b'{"topic": 1}\n', b'{"errors": 1}\n', b"x" * 100_000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(socket_of(tmp_path)))
            try:
                connection.sendall(nonsense)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(1000) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was ended before all was said
    watched(worker, tmp_path, {}).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="asks as another user")
def test_others_may_not_look(worker: Up, tmp_path: Path) -> None:
    place = os.open(socket_of(tmp_path), os.O_PATH)
    try:
        asking = (
            "import os, socket, sys; s = socket.socket(socket.AF_UNIX); "
            f"s.connect('/proc/self/fd/{place}'); "
            "print(s.recv(1000).decode())"
        )
        done = subprocess.run(
            ["/usr/bin/env", "python3", "-c", asking],
            user=65534,
            group=65534,
            extra_groups=[],
            pass_fds=[place],
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        os.close(place)
    assert "only root and the group pyboot may look" in done.stdout, done.stderr


def test_what_cant_be_looked_at_is_said(worker: Up, tmp_path: Path) -> None:
    folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path))
    absent = run_pyboot("trace", "other", *folders)
    assert (absent.returncode, "no instance other runs" in absent.stderr) == (64, True)
    assert run_pyboot("trace", "../some", *folders).returncode == 64
    left = tmp_path / "run" / "workers" / "some-2"
    left.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left / "trace.sock"))
    gone = run_pyboot("trace", "some-2", *folders)
    assert (gone.returncode, "some-2 doesn't run" in gone.stderr) == (69, True)
    file = tmp_path / "run" / "workers" / "some-3"
    file.mkdir()
    (file / "trace.sock").symlink_to("/dev/zero")
    strange = run_pyboot("trace", "some-3", *folders)
    assert (strange.returncode, "it is no socket" in strange.stderr) == (69, True)


def test_for_people_and_until_the_worker_ends(
    worker: Up, plant: Plant, topic: str, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    with said.open("wb") as output:
        tracing = subprocess.Popen(
            [*PYBOOT, "trace", "some", "--run-dir", str(tmp_path / "run")],
            stdout=output,
            stderr=output,
        )

    def seen() -> bool:
        plant.publish(f"{topic}/in/a", "bad", 1)
        return "ValueError: it is bad" in said.read_text()

    try:
        until(seen, "the error")
        assert f'some-1  {topic}/in/a  "bad"\n    dead letter  wait ' in said.read_text()
        worker.stop()
        assert tracing.wait(20) == 69
        assert "some-1: ended" in said.read_text()
    finally:
        tracing.kill()
        tracing.wait()
