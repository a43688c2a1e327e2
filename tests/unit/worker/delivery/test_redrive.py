"""What `pyboot dead retry` asked for comes in again, once, and is forgotten when it has ended."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from support.columns import messages_of
from support.poll import until
from support.store import configured, rows, running, settled

from pyboot_svc.worker.delivery.dead_letters import DeadLetters, refused, refused_result
from pyboot_svc.worker.delivery.redrive import Redrive
from pyboot_svc.worker.messages import Fault, Message, MessageBatch
from pyboot_svc.worker.storage.database import check
from pyboot_svc.worker.storage.durable_queue import DEAD_LETTERS, DurableQueue
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DatabaseWriter]:
    with running(tmp_path / DATABASE_NAME) as store:
        yield store


@pytest.fixture
def delivered() -> list[MessageBatch]:
    return []


@pytest.fixture
def redrive(store: DatabaseWriter, tmp_path: Path, delivered: list[MessageBatch]) -> Redrive:
    return Redrive(store, tmp_path / DATABASE_NAME, delivered.append, publish_nothing)


def publish_nothing(rows: list[tuple[str, bytes]], done: Callable[[], None]) -> None:
    assert not rows, "these are no results"


def add(store: DatabaseWriter, folder: Path, *payloads: bytes) -> None:
    lane = DurableQueue(store, folder / DATABASE_NAME, DEAD_LETTERS)
    dead_letters = DeadLetters(configured(), store, lane, lambda: None)
    buried = [(Message("a/b", payload), Fault("model", "why")) for payload in payloads]
    dead_letters.add(buried, lambda: None)
    settled(store)


def ask(folder: Path, *numbers: int) -> None:
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection, connection:
        for number in numbers:
            connection.execute("UPDATE dead SET request = 'retry' WHERE id = ?", (number,))


def test_without_a_file_nothing_happens(
    redrive: Redrive, tmp_path: Path, delivered: list[MessageBatch]
) -> None:
    redrive.tick()
    assert delivered == []
    assert not (tmp_path / DATABASE_NAME).exists()


def test_what_was_asked_for_comes_in_once(
    store: DatabaseWriter, tmp_path: Path, redrive: Redrive, delivered: list[MessageBatch]
) -> None:
    add(store, tmp_path, b"1", b"\xff", b"3")
    redrive.tick()
    assert delivered == []
    ask(tmp_path, 2, 3)
    redrive.tick()
    redrive.tick()
    [batch] = delivered
    assert messages_of(batch) == [("a/b", b"\xff"), ("a/b", b"3")]
    assert batch.packet_ids == [2, 3]
    assert len(batch.arrived) == 2
    assert min(batch.arrived) > 0
    assert batch.redeliverable, "they come again if the process dies"
    ask(tmp_path, 1, 2)
    redrive.tick()
    assert [again.packet_ids for again in delivered] == [[2, 3], [1]]


def test_a_letter_of_other_types_than_it_should_have_comes_in_as_what_it_says(
    store: DatabaseWriter, tmp_path: Path, redrive: Redrive, delivered: list[MessageBatch]
) -> None:
    add(store, tmp_path, b"1", b"2")
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE dead SET payload = 12 WHERE id = 1")
        connection.execute("UPDATE dead SET topic = x'612f62', payload = 'text' WHERE id = 2")
    ask(tmp_path, 1, 2)
    redrive.tick()
    assert messages_of(delivered[0]) == [("a/b", b"12"), ("a/b", b"text")]


def test_what_was_asked_for_comes_in_by_parts_of_a_size_that_memory_holds(
    store: DatabaseWriter, tmp_path: Path, redrive: Redrive, delivered: list[MessageBatch]
) -> None:
    add(store, tmp_path, *(b"%02d" % number + b"x" * 2_000_000 for number in range(20)))
    ask(tmp_path, *range(1, 21))
    came: list[int] = []
    while len(came) < 20:
        delivered.clear()
        redrive.tick()
        [batch] = delivered
        assert sum(map(len, batch.payloads)) <= 18 * 1024**2
        redrive.tick()
        assert delivered == [batch], "no more before these have reached their end"
        came += batch.packet_ids
        assert [int(payload[:2]) + 1 for payload in batch.payloads] == batch.packet_ids
        batch.origin.acknowledge(batch, 0, len(batch))
        settled(store)
    redrive.tick()
    assert (came, delivered) == (list(range(1, 21)), [batch])


def test_what_was_asked_for_before_the_start(
    store: DatabaseWriter, tmp_path: Path, delivered: list[MessageBatch]
) -> None:
    add(store, tmp_path, b"1")
    ask(tmp_path, 1)
    Redrive(store, tmp_path / DATABASE_NAME, delivered.append, publish_nothing).tick()
    [batch] = delivered
    assert batch.payloads == [b"1"]


def test_what_has_ended_is_forgotten(
    store: DatabaseWriter, tmp_path: Path, redrive: Redrive, delivered: list[MessageBatch]
) -> None:
    add(store, tmp_path, b"1", b"2", b"3")
    ask(tmp_path, 1, 3)
    redrive.tick()
    [batch] = delivered
    batch.origin.acknowledge(batch, 0, len(batch))
    settled(store)
    assert rows(tmp_path, "SELECT payload FROM dead") == [(b"2",)]
    redrive.tick()
    assert delivered == [batch]


def test_of_a_batch_some_can_have_ended_before_the_others(
    store: DatabaseWriter, tmp_path: Path, redrive: Redrive, delivered: list[MessageBatch]
) -> None:
    add(store, tmp_path, b"1", b"2", b"3")
    ask(tmp_path, 1, 2, 3)
    redrive.tick()
    [batch] = delivered
    batch.origin.acknowledge(batch, 0, 2)
    settled(store)
    assert rows(tmp_path, "SELECT payload FROM dead") == [(b"3",)]
    batch.origin.acknowledge(batch, 2, 3)
    settled(store)
    assert rows(tmp_path, "SELECT payload FROM dead") == []


def test_a_file_that_is_no_database_can_wait(tmp_path: Path, delivered: list[MessageBatch]) -> None:
    file = tmp_path / DATABASE_NAME
    file.write_bytes(b"x" * 8192)
    with running(file) as store:
        redrive = Redrive(store, file, delivered.append, publish_nothing)
        redrive.tick()
        assert delivered == []
        add(store, tmp_path, b"1")  # which puts the damaged one aside
        ask(tmp_path, 1)
        redrive.tick()
        [batch] = delivered
        assert batch.payloads == [b"1"]


def bloat(connection: sqlite3.Connection) -> None:
    """More than SQLite keeps in memory."""
    rows = [(f"{number}{'x' * 100_000}",) for number in range(60)]
    connection.executemany("INSERT INTO crashes (content, count, last) VALUES (?, 1, 1)", rows)


def test_after_a_damage_it_looks_into_the_new_file(
    store: DatabaseWriter, tmp_path: Path, redrive: Redrive, delivered: list[MessageBatch]
) -> None:
    file = tmp_path / DATABASE_NAME
    add(store, tmp_path, b"1")
    redrive.tick()
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.submit(bloat, lambda: None)
    settled(store)
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(size // 2)
        damaged.write(b"\xff" * (size // 2))
    store.submit(check, lambda: None)
    until(lambda: list(tmp_path.glob(f"{DATABASE_NAME}.damaged-*")), "put aside")
    settled(store)
    ask(tmp_path, 1)
    redrive.tick()
    [batch] = delivered
    assert batch.payloads == [b"1"]


@pytest.mark.usefixtures("busy_switching")
def test_the_file_is_let_go_of_at_any_moment(
    redrive: Redrive, store: DatabaseWriter, tmp_path: Path
) -> None:
    add(store, tmp_path, b"1")
    looks = iter(range(300))
    done = threading.Event()

    def look() -> None:
        try:
            for _ in looks:
                redrive.tick()
        finally:
            done.set()

    # What either raises is raised here.
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        while not done.is_set():
            redrive.close()
        looking.result(20)


def test_it_lets_go_of_the_file_when_closed(tmp_path: Path, delivered: list[MessageBatch]) -> None:
    """The last connection that closes takes the log into the database."""
    file = tmp_path / DATABASE_NAME
    with running(file) as store:
        redrive = Redrive(store, file, delivered.append, publish_nothing)
        add(store, tmp_path, b"one")
        ask(tmp_path, 1)
        redrive.tick()
        assert [len(batch) for batch in delivered] == [1]
        redrive.close()
    assert file.exists()
    assert not file.with_name(f"{DATABASE_NAME}-wal").exists()


def test_a_result_that_was_kept_is_published_as_it_is(
    store: DatabaseWriter, tmp_path: Path, delivered: list[MessageBatch]
) -> None:
    lane = DurableQueue(store, tmp_path / DATABASE_NAME, DEAD_LETTERS)
    dead_letters = DeadLetters(configured(), store, lane, lambda: None)
    kept = [
        (Message("out", b"result"), refused_result("the post broker: Not authorized")),
        (Message("in", b"input"), refused("the post broker: Not authorized")),
    ]
    dead_letters.add(kept, lambda: None)
    settled(store)
    published: list[tuple[str, bytes]] = []

    def publish(rows: list[tuple[str, bytes]], done: Callable[[], None]) -> None:
        published.extend(rows)
        done()

    ask(tmp_path, 1, 2)
    redrive = Redrive(store, tmp_path / DATABASE_NAME, delivered.append, publish)
    redrive.tick()
    redrive.tick()
    redrive.close()
    settled(store)
    assert published == [("out", b"result")]
    assert [messages_of(batch) for batch in delivered] == [[Message("in", b"input")]]
    assert rows(tmp_path, "SELECT payload FROM dead") == [(b"input",)]
