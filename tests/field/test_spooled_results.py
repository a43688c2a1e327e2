"""The spool: empties as fast as the broker takes it, and takes no more of the disk than it may."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support.app import data_plane, run_pyboot
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.store import rows
from support.workers import Workers

from pyboot_svc.worker.messages import RESULTS
from pyboot_svc.worker.storage.database import connect
from pyboot_svc.worker.storage.rows import insert
from pyboot_svc.worker.storage.writer import DATABASE_NAME

MODELS = """
def same(payload):
    return payload
"""
NARROW = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 20\n"


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Broker]:
    """A post broker with 20 messages in flight; away until it is started."""
    running = Broker(tmp_path / "post", NARROW)
    yield running
    running.stop()


@pytest.fixture
def worker(
    write_config: Callable[..., Path], workers: Callable[..., Workers], topic: str, post: Broker
) -> Callable[..., Workers]:
    def start(*options: str, **more: Any) -> Workers:
        """Its post broker is away; `more` are settings of the edge, as YAML has them."""
        settings = "".join(f", {key}: {value}" for key, value in more.items())
        edge = (
            f"{{name: m, edge_mode: my_models.same, pre_topic: {topic}/in, pre_qos: 1, "
            f"post_port: {post.port}, post_topic: {topic}/out, post_qos: 1{settings}}}"
        )
        started = workers(write_config(edge, models=MODELS), *options, ready=False)
        until(lambda: started.instance("m-1")["state"] in ("waiting", "ready"), "it runs")
        until(lambda: subscribed(started), "it is subscribed")
        return started

    return start


def subscribed(app: Workers) -> bool:
    brokers: dict[str, Any] = app.instance("m-1").get("brokers", {})
    return bool(brokers) and brokers["pre"]["state"] == "connected" and "subscribed to" in app.log


def spool(app: Workers, plant: Plant, topic: str, numbers: range) -> None:
    plant.publish_all(f"{topic}/in", list(numbers), 1)
    until(lambda: app.instance("m-1")["spooled"] == numbers.stop, "spooled", 60)


ODD_ROWS: list[tuple[Any, ...]] = [
    *(("odd", b"1", 1, text) for text in ('{"k": 1}', '{"k": null}', '{"k": ["x"]}')),
    ("odd", b"1", 1, '{"k": ' + "[" * 5000 + "]" * 5000 + "}"),
    (b"odd/\xff", b"1", 1, "{}"),
    ("odd", "text", 1, "{}"),
    ("odd", 12, 1, "{}"),
    ("odd", b"1", "one", "{}"),
]


def test_rows_that_no_packet_can_be_made_of_are_put_aside(
    worker: Callable[..., Workers], plant: Plant, topic: str, post: Broker, tmp_path: Path
) -> None:
    """As another version, or a damage, may have left them: their checksums are right."""
    state = "--state-dir", str(tmp_path / "state")
    file = tmp_path / "state" / "m-1" / DATABASE_NAME
    first = worker(*state)
    spool(first, plant, topic, range(1))
    first.close()
    with closing(connect(file)) as connection:
        for values in ODD_ROWS:
            insert(connection, RESULTS, [values], 0.0)
    post.start()
    app = worker(*state)
    until(lambda: app.instance("m-1")["spooled"] == 0, "all is sent, or put aside", 60)
    kept = rows(file.parent, "SELECT kind, error FROM dead")
    assert [kind for kind, _ in kept] == ["refused"] * len(ODD_ROWS)
    assert all(error.startswith("its row on the disk is damaged") for _, error in kept)
    assert app.alive
    listed = run_pyboot("dead", "list", *state, "--json")
    assert len(json.loads(listed.stdout)) == len(ODD_ROWS)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_window_of_20_is_filled_again_at_each_answer(
    threads: int, worker: Callable[..., Workers], plant: Plant, topic: str, post: Broker
) -> None:
    """Filled by the connection's clock alone, ten times a second, it would take 100 s."""
    app = worker(threads=threads)
    spool(app, plant, topic, range(20_000))
    post.start()
    until(lambda: app.instance("m-1")["spooled"] == 0, "all is sent", 60)


def test_the_spool_ends_beside_live_input(
    worker: Callable[..., Workers], plant: Plant, topic: str, post: Broker
) -> None:
    # What paho, packet by packet, has time for beside the spool.
    at_once = 60 if data_plane() == "bulk" else 10
    app = worker(threads=1)
    spool(app, plant, topic, range(3000))
    post.start()
    until(lambda: app.instance("m-1")["brokers"]["post"]["state"] == "connected", "it is back")
    with Plant(post.port) as reader:
        reader.subscribe(f"{topic}/out", 1)
        number = 3000

        def emptied() -> bool:
            nonlocal number
            plant.publish_soon(f"{topic}/in", list(range(number, number + at_once)), 1)
            number += at_once
            return bool(app.instance("m-1")["spooled"] == 0)

        until(emptied, "the spool is empty though more comes all the time", 60)
        plant.publish_all(f"{topic}/in", [number], 1)
        until(lambda: reader.received and reader.payloads()[-1] == number, "the last one", 60)
        found = reader.payloads()
        assert found == list(range(found[0], number + 1)), "in order, none missing"


BUDGET = 512 * 1024


def taken(folder: Path) -> dict[str, int]:
    """What the files of the state directory take of the disk; some may go meanwhile."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found[path.name] = path.stat().st_blocks * 512
    return found


class Greatest:
    """Looks, again and again, how much of the disk is taken."""

    def __init__(self, folder: Path) -> None:
        self.found: dict[str, int] = {}
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.002):
            found = taken(self._folder)
            if sum(found.values()) > sum(self.found.values()):
                self.found = found

    def end(self) -> dict[str, int]:
        self._stop.set()
        self._thread.join()
        return self.found


@pytest.fixture
def greatest(tmp_path: Path) -> Iterator[Greatest]:
    found = Greatest(tmp_path / "state" / "m-1")
    yield found
    found.end()


@pytest.mark.parametrize("size", [4, 1000, 30_000])
@pytest.mark.parametrize("on_full", ["block", "drop_oldest"])
def test_the_disk_holds_no_more_than_it_may_and_gets_it_back(
    on_full: str,
    size: int,
    worker: Callable[..., Workers],
    plant: Plant,
    topic: str,
    post: Broker,
    tmp_path: Path,
    greatest: Greatest,
) -> None:
    """Small results take several times their payload."""
    limits = f"{{max_bytes: {BUDGET}, on_full: {on_full}}}"
    app = worker(
        "--state-dir", str(tmp_path / "state"), spool=limits, queue="{pre: 500, post: 500}"
    )
    count = 20_000 if size < 1000 else 4_000_000 // size
    plant.publish_all(f"{topic}/in", [f"{number:0{size}}" for number in range(count)], 1)
    if on_full == "block":
        app.wait_log("no more input is taken in until the post broker is back", 60)
    else:
        until(lambda: app.instance("m-1")["counters"]["spool_overflowed"] > 0, "dropped", 60)
        until(lambda: app.instance("m-1")["unacknowledged"] == 0, "all is taken in", 60)
        assert "no more input is taken in" not in app.log
        if size <= 1000:
            full = f"the spool is full, by the {BUDGET} bytes of spool.max_bytes"
            app.wait_log(f"{full}: the oldest results are dropped for new ones until the post")
    assert app.instance("m-1")["spooled"] > 0
    post.start()
    until(lambda: app.instance("m-1")["spooled"] == 0, "all is sent", 60)
    until(lambda: app.instance("m-1")["unacknowledged"] == 0, "all is safe", 60)
    counters = app.instance("m-1")["counters"]
    # A connection that is lost on a busy host brings some of the inputs twice.
    assert counters["published"] + counters["spool_overflowed"] == counters["processed"] >= count
    until(lambda: sum(taken(tmp_path / "state" / "m-1").values()) < BUDGET // 3, "given back")
    found = greatest.end()
    assert BUDGET // 8 < sum(found.values()) <= BUDGET, found
