"""Messages in hand at a crash: counted over processes, and given up in the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.store import rows, settled

from pyboot_svc.worker.ledger import Ledger
from pyboot_svc.worker.message import Message, digest_all
from pyboot_svc.worker.store import DATABASE_NAME, Store
from pyboot_svc.worker.suspects import MOST_CRASHES, Suspects

POISON, INNOCENT = Message("in", b"poison", 1), Message("in", b"innocent", 1)


class Process:
    """What a process knows when it has started."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / DATABASE_NAME)
        self.ledger = Ledger(folder / "in-hand", 4, 1)
        self.suspects = Suspects(self.store)
        self.suspects.load(self.ledger)

    def crash_with(self, *messages: Message) -> None:
        for thread, message in enumerate(messages):
            self.ledger.begin(thread, digest_all([message]))


def test_nothing_in_hand_makes_no_suspect_and_no_file(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert (bool(process.suspects), process.suspects.careful) == (False, False)
    assert not (tmp_path / DATABASE_NAME).exists()


def test_crashes_are_counted_over_processes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for crashes in range(MOST_CRASHES + 1):
        process = Process(tmp_path)
        assert process.suspects.crashes(POISON) == crashes
        assert process.suspects.crashes(INNOCENT) == 0
        assert process.suspects.careful == bool(crashes)
        process.crash_with(POISON)
    assert "died with 1 messages in hand" in caplog.text


def test_a_clean_end_in_between_forgets_nothing(tmp_path: Path) -> None:
    Process(tmp_path).crash_with(POISON)
    Process(tmp_path)
    process = Process(tmp_path)
    assert process.suspects.crashes(POISON) == 1
    assert not process.suspects.careful


def test_all_that_were_in_hand_are_suspects(tmp_path: Path) -> None:
    Process(tmp_path).crash_with(POISON, INNOCENT)
    suspects = Process(tmp_path).suspects
    assert (suspects.crashes(POISON), suspects.crashes(INNOCENT)) == (1, 1)


def test_the_same_content_in_two_hands_is_one_crash(tmp_path: Path) -> None:
    Process(tmp_path).crash_with(POISON, POISON)
    assert Process(tmp_path).suspects.crashes(POISON) == 1


def test_what_was_processed_is_no_suspect_any_more(tmp_path: Path) -> None:
    Process(tmp_path).crash_with(POISON, INNOCENT)
    process = Process(tmp_path)
    process.store.start(lambda: None)
    process.suspects.clear(INNOCENT)
    process.suspects.clear(INNOCENT)
    assert process.suspects.crashes(INNOCENT) == 0
    assert process.suspects.careful
    process.suspects.forget_cleared()
    settled(process.store)
    assert len(rows(tmp_path, "SELECT * FROM crashes")) == 2, "it may be sent again"
    process.suspects.forget_cleared(lingering=0)
    settled(process.store)
    assert len(rows(tmp_path, "SELECT * FROM crashes")) == 1
    process.suspects.clear(POISON)
    assert not process.suspects
    process.suspects.forget_cleared(lingering=0)
    process.store.stop(20)
    assert not Process(tmp_path).suspects


def age(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE crashes SET last = last - 90000")


def test_crashes_of_long_ago_are_forgotten(tmp_path: Path) -> None:
    Process(tmp_path).crash_with(POISON)
    process = Process(tmp_path)
    process.store.start(lambda: None)
    process.store.submit(age, lambda: None)
    process.store.stop(20)
    process.crash_with(INNOCENT)
    suspects = Process(tmp_path).suspects
    assert (suspects.crashes(POISON), suspects.crashes(INNOCENT)) == (0, 1)


def test_where_nothing_can_be_written_the_process_starts_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Process(tmp_path).crash_with(POISON)
    (tmp_path / DATABASE_NAME).mkdir()
    process = Process(tmp_path)
    assert not process.suspects
    assert process.store.trouble is not None
    assert "unable to open database file" in caplog.text
