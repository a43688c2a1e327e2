"""What survives a process, damaged: the input says where, and how. Whatever is whole stays.

What is read then is what was written; a damaged file is put aside, and the worker goes on.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from support.store import rows, running, settled

from fuzz.target import Cursor, Target
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.messages import DIGEST_BYTES
from pyboot_svc.worker.storage.database import checksum, connect
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

ROWS, PAGE, LEAF = 60, 4096, 0x0D
# What the file begins with: the same in each.
HEAD = 24
PAYLOADS = {number: b"%03d" % number * 100 for number in range(1, ROWS + 1)}
JOURNAL, CHUNK, THREADS = "in-hand", 4, 3
DIGESTS = [bytes([number]) * DIGEST_BYTES for number in range(1, 1 + THREADS * CHUNK)]
FILES = ("", "-wal", "-mark")


def add(store: DatabaseWriter, number: int) -> None:
    values = (number % 2, "out", PAYLOADS[number], 1, "{}", float(number))

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO spool (lane, topic, payload, qos, properties, created, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*values, checksum(*values)),
        )

    store.submit(write, lambda: None)


@cache
def killed() -> Path:
    """The folder of a worker that was killed: most of its rows in the file, some in its log."""
    folder, copy = Path(mkdtemp()), Path(mkdtemp())
    with running(folder / DATABASE_NAME) as store:
        for number in PAYLOADS:
            add(store, number)
            if number == ROWS - 10:
                settled(store)
                with closing(connect(folder / DATABASE_NAME)) as other:
                    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        settled(store)
        for suffix in FILES:
            shutil.copy(folder / f"{DATABASE_NAME}{suffix}", copy)
    shutil.rmtree(folder)
    return copy


def damaged(content: bytes, source: Cursor) -> bytes:
    """Flipped, zeroed, cut, doubled, or overwritten somewhere."""
    how, at, size = source.number() % 5, source.number(4), source.choice((1, 2, 16, 512, PAGE))
    at = at % len(content) if content else 0
    before, part, behind = content[:at], content[at : at + size], content[at + size :]
    if how == 0:
        return before + bytes(byte ^ (1 << at % 8) for byte in part) + behind
    if how == 1:
        return before + bytes(len(part)) + behind
    if how == 2:
        return before
    if how == 3:
        return before + part + part + behind
    return before + source.take(len(part)).ljust(len(part), b"\xa5") + behind


class Told(logging.Handler):
    """Whether it was said that something is lost."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def listening() -> Iterator[Told]:
    logger, told = logging.getLogger("pyboot_svc"), Told()
    logger.addHandler(told)
    try:
        yield told
    finally:
        logger.removeHandler(told)


def damage_database(data: bytes) -> None:
    source = Cursor(data)
    whole = {suffix: _content(suffix) for suffix in FILES}
    found = dict(whole)
    for _ in range(1 + source.number() % 3):
        suffix = source.choice(FILES)
        found[suffix] = damaged(found[suffix], source)
    with TemporaryDirectory() as name, listening() as told:
        folder = Path(name)
        for suffix, content in found.items():
            (folder / f"{DATABASE_NAME}{suffix}").write_bytes(content)
        with running(folder / DATABASE_NAME) as store:
            settled(store)
            left = dict(rows(folder, "SELECT created, payload FROM spool"))
            assert len(left) == rows(folder, "SELECT count(*) FROM spool")[0][0]
    assert left.items() <= PAYLOADS.items()
    assert left.keys() >= _safe(whole, found)
    if len(left) < ROWS and found["-mark"] == whole["-mark"]:
        assert told.texts


def _content(suffix: str) -> bytes:
    return (killed() / f"{DATABASE_NAME}{suffix}").read_bytes()


def _safe(whole: dict[str, bytes], found: dict[str, bytes]) -> set[float]:
    """The rows whose pages are as they were, and can be found: all pages but leaves are."""
    if found["-wal"] != whole["-wal"]:
        return set()  # what a page in the log replaces is free to be anything
    before, after = (_pages(content[""]) for content in (whole, found))
    changed = [at for at, page in enumerate(before) if after[at : at + 1] != [page]]
    if changed == [0] and after[0][HEAD:] == before[0][HEAD:]:
        changed = []
    if any(before[at][0] != LEAF for at in changed) or len(after) != len(before):
        return set()
    lost = b"".join(before[at] for at in changed)
    return {float(number) for number, payload in PAYLOADS.items() if payload[:60] not in lost}


def _pages(content: bytes) -> list[bytes]:
    return [content[at : at + PAGE] for at in range(0, len(content), PAGE)]


@cache
def journal() -> bytes:
    """Of a process that was killed: the threads had a chunk each."""
    with TemporaryDirectory() as folder:
        kept = CrashJournal(Path(folder, JOURNAL), THREADS, CHUNK)
        for thread in range(THREADS):
            chunk = DIGESTS[thread * CHUNK : (thread + 1) * CHUNK]
            kept.begin(thread, chunk, as_one_call=thread > 0)
        content = Path(folder, JOURNAL).read_bytes()
        kept.close()
        return content


def damage_journal(data: bytes) -> None:
    source = Cursor(data)
    content = journal()
    for _ in range(1 + source.number() % 3):
        content = damaged(content, source)
    with TemporaryDirectory() as folder:
        file = Path(folder, JOURNAL)
        file.write_bytes(content)
        found = _reopened(file)
        slot = (len(journal()) - 32) // THREADS
        for thread in range(THREADS):
            end = 32 + (thread + 1) * slot
            whole = (
                content[:32] == journal()[:32]
                and content[end - slot : end] == (journal()[end - slot : end])
            )
            chunk = DIGESTS[thread * CHUNK :][: CHUNK if thread else 1]
            assert not whole or {one.hex() for one in chunk} <= set(found)
        assert len(found) <= len(content) // DIGEST_BYTES
        assert _reopened(file) == []


def _reopened(file: Path) -> list[str]:
    kept = CrashJournal(file, THREADS, CHUNK)
    kept.begin(0, DIGESTS[:1])
    found = kept.left_in_hand
    kept.close()
    return found


def damages(count: int) -> list[bytes]:
    """Each kind of damage, of each file."""
    return [
        bytes([0, file, how, 0, 0, place, 0x10, size])
        for how in range(5)
        for file in range(count)
        for place in (0, 0x33, 0x77)
        for size in (0, 2, 4)
    ]


TARGETS = [
    Target("database", damage_database, damages(len(FILES)), [b"\0", b"\1", b"\4"], 60),
    Target(
        "journal",
        damage_journal,
        [one[:1] + one[2:] for one in damages(1)],
        [b"\xff\xff\xff\xff", b"pyboot-ledger-2\n", sys.maxsize.to_bytes(8)],
        300,
    ),
]
