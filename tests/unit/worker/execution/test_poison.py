"""Messages in hand at a crash: counted over processes, and given up in the end."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.store import rows, settled

from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.poison import MOST_CRASHES, PoisonTracker
from pyboot_svc.worker.messages import Message
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

POISON, INNOCENT = Message("in", b"poison"), Message("in", b"innocent")

# A model thread that dies of the second of three messages, which are of QoS 0.
CRASHING = """
import logging, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from pyboot_svc.config import BatchLimits, Broker, Edge, Endpoint
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.messages import MessageBatch, Chunk
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.storage.writer import DatabaseWriter
from pyboot_svc.worker.execution.poison import PoisonTracker

def model(payload, context):
    if b"poison" in payload:
        os.kill(os.getpid(), signal.SIGKILL)

folder, redeliverable, batches = Path(sys.argv[1]), sys.argv[2] == "True", sys.argv[3] == "True"
journal = CrashJournal(folder / "in-hand", 1, 3)
suspects = PoisonTracker(DatabaseWriter(folder / "unused"))
batch = BatchLimits() if batches else None
ends = Endpoint(Broker("10.0.0.1"), "in"), Endpoint(Broker("10.0.0.1"), "out")
edge = Edge("test", "a.b", *ends, codec="raw", batch=batch)
memory = SimpleNamespace(journal=journal, suspects=suspects)
call = ModelCall.of(edge, Model(model), memory, FailureLog())
runner = Runner(0, call, Context("test-1", folder, logging.getLogger("model")))
payloads = [b"innocent", b"poison", b"next"]
packet_ids = [1, 2, 3] if redeliverable else [0] * 3
runner.work(Chunk(0, MessageBatch(["in"] * 3, payloads, packet_ids, [0] * 3)))
"""


class Process:
    """What a process knows when it has started."""

    def __init__(self, folder: Path) -> None:
        self.store = DatabaseWriter(folder / DATABASE_NAME)
        self.journal = CrashJournal(folder / "in-hand", 4, 1)
        self.suspects = PoisonTracker(self.store)
        self.suspects.load(self.journal)

    def crash_with(self, *messages: Message) -> None:
        for thread, message in enumerate(messages):
            self.journal.begin(thread, [message.digest])


def test_nothing_in_hand_makes_no_suspect_and_no_file(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert (bool(process.suspects.counts), process.suspects.careful) == (False, False)
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


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("redeliverable", [True, False])
def test_of_qos_0_what_can_come_again_is_a_suspect_and_nothing_else(
    tmp_path: Path, redeliverable: bool, batches: bool
) -> None:
    """A retained message is sent again with every subscription."""
    command = [sys.executable, "-c", CRASHING, str(tmp_path), str(redeliverable), str(batches)]
    assert subprocess.run(command, timeout=20, check=False).returncode == -signal.SIGKILL
    suspects = Process(tmp_path).suspects
    assert suspects.crashes(POISON) == redeliverable
    assert suspects.crashes(INNOCENT) == (redeliverable and batches), (
        "it was done, unless all were one"
    )
    assert suspects.careful == redeliverable


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
    assert not process.suspects.counts
    process.suspects.forget_cleared(lingering=0)
    process.store.stop(20)
    assert not Process(tmp_path).suspects.counts


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


def test_a_wall_clock_that_steps_forgets_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Process(tmp_path).crash_with(POISON)
    Process(tmp_path).crash_with(POISON)
    later = time.time() + 10 * 365 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert Process(tmp_path).suspects.crashes(POISON) == 2


def test_where_nothing_can_be_written_the_process_starts_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Process(tmp_path).crash_with(POISON)
    (tmp_path / DATABASE_NAME).mkdir()
    process = Process(tmp_path)
    assert not process.suspects.counts
    assert process.store.trouble is not None
    assert "unable to open database file" in caplog.text
