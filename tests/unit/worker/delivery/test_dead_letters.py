"""Where failed messages end: durable before they are settled, and published as they came."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.disk import SmallDisk
from support.store import configured, held_up, rows, running, settled

from pyboot_svc import __version__
from pyboot_svc import config as configuration
from pyboot_svc.config import Broker, Endpoint, OnError
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.messages import Fault, Message, StoredMessage
from pyboot_svc.worker.storage.database import check, open_database
from pyboot_svc.worker.storage.disk_budget import disk_bytes, log_bytes
from pyboot_svc.worker.storage.durable_queue import DEAD_LETTERS, DurableQueue
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter, Done, TakeBack, Write

BAD = Message("plant/7", b"\x00\xff")
FAULT = Fault("model", "the model raised KeyError: 'x'\nTraceback: …", 4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DatabaseWriter]:
    with running(tmp_path / DATABASE_NAME) as store:
        yield store


class Yard:
    def __init__(self, store: DatabaseWriter, folder: Path, **settings: Any) -> None:
        self.store = store
        self.folder = folder
        self.lane = DurableQueue(store, folder / DATABASE_NAME, DEAD_LETTERS)
        self.woken = threading.Event()
        config = configured(**settings)
        self.dead_letters = DeadLetters(config, store, self.lane, self.woken.set)

    def add(self, *buried: tuple[Message, Fault]) -> list[StoredMessage]:
        """Bury these; gives what is published of it."""
        self.dead_letters.add(list(buried), lambda: None)
        settled(self.store)
        return self.lane.take(10_000)

    @property
    def kept(self) -> list[tuple[Any, ...]]:
        return rows(self.folder, "SELECT topic, payload, kind, error, attempts FROM dead")


def test_it_is_kept_locally_with_all_that_is_known(store: DatabaseWriter, tmp_path: Path) -> None:
    Yard(store, tmp_path).add((BAD, FAULT))
    [kept] = rows(tmp_path, "SELECT * FROM dead")
    assert kept[:8] == (
        *(1, "plant/7", b"\x00\xff", "model", FAULT.error, 4),
        *("a.b", __version__),
    )
    assert kept[9] is None


@pytest.mark.parametrize("kind", ["refused", *PayloadFault])
def test_what_is_kept_is_found_to_be_what_was_written(
    store: DatabaseWriter, tmp_path: Path, kind: str
) -> None:
    error = "nul \0, half a character \ud800, 温"
    Yard(store, tmp_path).add((Message("plant/\0温", b""), Fault(kind, error)))
    with closing(open_database(tmp_path / DATABASE_NAME)) as connection:
        check(connection)
    assert len(rows(tmp_path, "SELECT * FROM dead")) == 1


def test_what_is_not_to_be_published_is_kept(store: DatabaseWriter, tmp_path: Path) -> None:
    yard = Yard(store, tmp_path, dead_letter=configuration.DeadLetters("dead", publish=False))
    assert yard.add((BAD, FAULT)) == []
    assert yard.kept == [("plant/7", b"\x00\xff", "model", FAULT.error, 4)]
    assert yard.lane.size == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_where_it_was_raised_is_told_only_here(
    store: DatabaseWriter, tmp_path: Path, protocol: str
) -> None:
    letters = configuration.DeadLetters("dead", traceback=False)
    post = configuration.Endpoint(configuration.Broker("far", protocol=protocol), "out")
    yard = Yard(store, tmp_path, dead_letter=letters, post=post)
    [letter] = yard.add((BAD, FAULT))
    told = letter.properties if protocol == "5" else json.loads(letter.payload)
    assert told["error"] == "the model raised KeyError: 'x'"
    assert yard.kept[0][3] == FAULT.error


def test_it_is_published_with_the_payload_untouched(store: DatabaseWriter, tmp_path: Path) -> None:
    yard = Yard(store, tmp_path, dead_letter=configuration.DeadLetters("dead/test"))
    [letter] = yard.add((BAD, FAULT))
    assert (letter.topic, letter.payload, letter.qos) == ("dead/test", b"\x00\xff", 1)
    about = dict(letter.properties)
    assert abs(float(about.pop("time")) - rows(tmp_path, "SELECT created FROM dead")[0][0]) < 0.01
    assert about == {
        "pyboot-id": BAD.id,
        "topic": "plant/7",
        "kind": "model",
        "error": r"the model raised KeyError: 'x'\nTraceback: …",
        "attempts": "4",
        "instance": "test-1",
        "model": "a.b",
        "version": __version__,
    }


def test_by_mqtt_3_it_is_an_envelope(store: DatabaseWriter, tmp_path: Path) -> None:
    post = Endpoint(Broker("h", protocol="3.1.1"), "out", 1)
    [letter] = Yard(store, tmp_path, post=post).add((BAD, FAULT))
    assert letter.properties == {}
    envelope = json.loads(letter.payload)
    assert base64.b64decode(envelope["payload_base64"]) == BAD.payload
    assert (envelope["topic"], envelope["error"], envelope["attempts"]) == (
        *("plant/7", FAULT.error),
        "4",
    )


def test_done_when_both_are_durable(store: DatabaseWriter, tmp_path: Path) -> None:
    yard = Yard(store, tmp_path)
    seen: list[tuple[int, int]] = []

    def done() -> None:
        letters = rows(tmp_path, "SELECT * FROM spool")
        seen.append((len(yard.kept), len(letters)))

    with held_up(store):
        yard.dead_letters.add([(BAD, FAULT), (BAD, FAULT)], done)
        assert seen == []
    settled(store)
    assert seen == [(2, 2)]
    assert yard.woken.is_set()


def test_dropped_if_that_is_wanted(store: DatabaseWriter, tmp_path: Path) -> None:
    yard = Yard(store, tmp_path, on_error=OnError(then="drop"))
    done = threading.Event()
    yard.dead_letters.add([(BAD, FAULT)], done.set)
    assert done.is_set()
    settled(store)
    assert (yard.kept, yard.lane.depth) == ([], 0)


@pytest.mark.parametrize(("keep", "left"), [(0, 0), (1, 1), (3, 3), (100, 7)])
def test_as_many_as_wanted_are_kept_the_newest(
    store: DatabaseWriter, tmp_path: Path, keep: int, left: int
) -> None:
    yard = Yard(store, tmp_path, dead_letter=configuration.DeadLetters("dead", keep))
    for number in range(5):
        yard.add((Message("in", b"%d" % number), FAULT))
    yard.add(*((Message("in", b"%d" % number), FAULT) for number in (5, 6)))
    assert [row[1] for row in yard.kept] == [b"%d" % number for number in range(7 - left, 7)]
    assert yard.lane.depth == 7  # all are published


def test_more_letters_than_there_is_room_for_are_only_kept(
    store: DatabaseWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yard = Yard(store, tmp_path, dead_letter=configuration.DeadLetters("dead", max_bytes=1000))
    done = threading.Event()
    for _ in range(4):
        yard.dead_letters.add([(BAD, FAULT)], done.set)
        settled(store)
    assert (len(yard.kept), done.is_set()) == (4, True)
    assert 1 <= yard.lane.depth <= 3
    assert yard.lane.size <= 1000
    assert "dead letters hold their 1000 bytes" in caplog.text


def numbered(count: int, size: int) -> list[tuple[Message, Fault]]:
    return [(Message("in", b"%04d" % n + b"x" * size), FAULT) for n in range(count)]


@pytest.mark.parametrize("size", [10, 3000, 50_000, 1_000_000])
@pytest.mark.parametrize("at_once", [1, 100])
def test_as_many_bytes_are_kept_as_may_be_the_newest(
    store: DatabaseWriter, tmp_path: Path, size: int, at_once: int
) -> None:
    most = 2 * 1024**2
    yard = Yard(store, tmp_path, dead_letter=configuration.DeadLetters("dead", 100_000, most))
    buried = numbered(4 * most // size if size > 1000 else 20_000, size)
    for start in range(0, len(buried), at_once):
        yard.dead_letters.add(buried[start : start + at_once], lambda: None)
    settled(store)
    kept = [int(row[1][:4]) for row in yard.kept]
    assert kept == list(range(len(buried)))[-len(kept) :] if size > 1000 else kept
    left = rows(tmp_path, "SELECT sum(length(payload) + length(error)) FROM dead")[0][0]
    assert most // 5 < left <= most
    if size > 1000:  # the others are also published, and wait for that
        yard.lane.remove(yard.lane.take(10_000))
    assert yard.lane.size <= most


def test_the_newest_is_kept_however_large(store: DatabaseWriter, tmp_path: Path) -> None:
    yard = Yard(store, tmp_path, dead_letter=configuration.DeadLetters("dead", 10, 1000))
    for message, fault in numbered(3, 50_000):
        yard.add((message, fault))
    assert [row[1][:4] for row in yard.kept] == [b"0002"]


def test_the_next_process_knows_what_is_kept(tmp_path: Path) -> None:
    for number in range(4):
        with running(tmp_path / DATABASE_NAME) as store:
            yard = Yard(store, tmp_path, dead_letter=configuration.DeadLetters("dead", 10, 200_000))
            yard.add((Message("in", b"%d" % number * 80_000), FAULT))
    assert [row[1][:1] for row in yard.kept] == [b"2", b"3"]


def test_no_commit_is_larger_than_the_log_may_be(store: DatabaseWriter, tmp_path: Path) -> None:
    """256 messages of 1 MB that fail together would take half a GB of log."""
    yard = Yard(store, tmp_path)
    done = threading.Event()
    yard.dead_letters.add(numbered(40, 1_000_000), done.set)
    assert done.wait(60)
    log = tmp_path / f"{DATABASE_NAME}-wal"
    assert log.stat().st_size < 16 * 1024**2


@pytest.mark.parametrize("text", ["\ud800", "a\x00b\x1b[31m\r\n\x7f", "\u202e", "x" * 100_000])
def test_an_error_of_any_text(store: DatabaseWriter, tmp_path: Path, text: str) -> None:
    yard = Yard(store, tmp_path)
    [letter] = yard.add((BAD, Fault("model", text)))
    shown = letter.properties["error"]
    assert shown.isprintable()
    assert len(shown.encode()) < 65_536
    [(_, _, _, error, _)] = yard.kept
    assert len(error) >= min(len(text), 65_000)


@pytest.mark.parametrize("character", ["\x00", "\n", "\U0001f600", "\ud800"])
def test_an_error_of_awkward_characters_fits_into_a_property(
    store: DatabaseWriter, tmp_path: Path, character: str
) -> None:
    [letter] = Yard(store, tmp_path).add((BAD, Fault("model", character * 50_000)))
    assert len(letter.properties["error"].encode()) < 65_536


class Noting(DatabaseWriter):
    """Notes how much each write is expected to take."""

    def __init__(self, file: Path, most_bytes: int) -> None:
        super().__init__(file, most_bytes)
        self.growths: list[int] = []

    def submit(
        self,
        write: Write,
        done: Done,
        take_back: TakeBack = lambda: False,
        growth: int = 0,
    ) -> None:
        self.growths.append(growth)
        super().submit(write, done, take_back, growth)


def test_many_together_are_written_in_parts_that_a_small_disk_takes(small_disk: SmallDisk) -> None:
    """The budget is far larger than the disk."""
    store = Noting(small_disk.folder / DATABASE_NAME, 256 * 1024**2)
    yard = Yard(store, small_disk.folder)
    large = Message("plant/7", b"x" * 10_000)
    yard.dead_letters.add([(large, FAULT)] * 50, lambda: None)
    at_once = log_bytes(disk_bytes(small_disk.folder)) // 2
    assert 0 < max(store.growths) <= at_once
    assert sum(store.growths) > 2 * at_once
