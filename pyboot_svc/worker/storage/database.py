"""The file in an instance's state directory that holds what must not get lost: SQLite in WAL mode.

A damaged file is put aside, with what can still be read of it carried over.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

BUSY_SECONDS = 10.0
# So long whoever empties the log waits for those who read.
SHORT_WAIT_SECONDS = 0.05
_LOG_BYTES = 4 * 1024**2
_PAGE_BYTES = 4096
# Free pages are given back to the disk so many at a time; a few are kept for what comes next.
_GIVE_BACK_PAGES, _KEPT_PAGES = 256, 8
# One of an earlier version is rewritten once it holds so little: it gives pages back from then on.
_REWRITTEN_PAGES = 1024
# What is carried over from a damaged file is committed so often: else the log holds it all.
_SALVAGED_BYTES, _SALVAGED_ROWS = 1024**2, 1000
# Of row numbers between damaged pages: a flipped bit must not make them look endless.
_MOST_PROBES = 10_000_000

# spool: what is to be published, in order. dead: messages that were given up; `request` is what
# a person asked for. crashes: messages that were in hand when the process died. state: models'.
# commits: how many there were, see mark.py. clock: see clock.py; `created` of the spool and `last`
# of crashes are of that clock, `created` of the dead is the wall clock's, to be shown.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, topic TEXT NOT NULL,
    payload BLOB NOT NULL, qos INTEGER NOT NULL, properties TEXT NOT NULL,
    created REAL NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL,
    kind TEXT NOT NULL, error TEXT NOT NULL, attempts INTEGER NOT NULL, model TEXT NOT NULL,
    version TEXT NOT NULL, created REAL NOT NULL, request TEXT,
    checksum INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS asked ON dead (id) WHERE request IS NOT NULL;
CREATE TABLE IF NOT EXISTS crashes (
    content TEXT PRIMARY KEY, count INTEGER NOT NULL, last REAL NOT NULL);
CREATE TABLE IF NOT EXISTS state (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS commits (id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY, seconds REAL NOT NULL, uptime REAL NOT NULL, boot TEXT NOT NULL,
    checksum INTEGER NOT NULL);
"""
_TABLES = ("spool", "dead", "crashes", "state", "clock")
# Their rows are numbered from 1 on, in the order in which they were made.
_NUMBERED = ("spool", "dead")
# Which columns of a row the checksum at its end is made of.
_SEALED = {
    "spool": slice(1, -1),
    "dead": slice(1, -2),
    "state": slice(0, -1),
    "clock": slice(1, -1),
}
# No message is longer, by MQTT.
_MOST_VALUE_BYTES = 2**29
_STEPS_A_LOOK = 10_000
PARTS = ("", "-wal", "-shm")
# How the file begins, and where that says which version may write it: SQLite's file format, 1.3.
_HEAD, _WRITE_VERSION = b"SQLite format 3\0\x10\0\2\2\0@  ", 18
_MAGIC = _HEAD[:16]
# The text of an error may quote what is damaged, and then it can't be decoded.
ERRORS = (sqlite3.Error, UnicodeDecodeError)
# Of operational errors, which are those of the host else: what a damaged head or schema leads to.
_DAMAGE = (
    *("malformed", "unsupported file format", "no such table", "no such column"),
    *("has no column", "may not be altered", "may not be modified", "values for", "no such index"),
)


_lenient_text = partial(str, encoding="utf-8", errors="replace")


class DatabaseTrouble(OSError):
    """The database can't be written now: no room, no permission, a broken disk."""


class DatabaseDamaged(DatabaseTrouble):
    """The file's content is broken."""


def open_database(file: Path, log_bytes: int = _LOG_BYTES) -> sqlite3.Connection:
    """Open or make the database, whose log is kept to about `log_bytes`; what is damaged is put
    aside. Raises DatabaseTrouble."""
    with troubles(file):
        try:
            with troubles(file):
                return _open(file, log_bytes)
        except DatabaseDamaged as error:
            return _replace(file, error, log_bytes)


def used_bytes(connection: sqlite3.Connection, file: Path) -> tuple[int, int]:
    """What the database takes of the disk without its free pages, and what its log takes."""
    pages = _used_pages(connection)
    try:
        log_size = os.stat(f"{file}-wal").st_size
    except OSError:
        log_size = 0
    return pages * _PAGE_BYTES, log_size


def give_back(connection: sqlite3.Connection) -> bool:
    """Give some free pages back to the disk, and at last the log; whether there is more to give.

    Where few pages are free nothing is written: a trickle of commits must not wear the disk out.
    """
    if not _number(connection, "auto_vacuum"):
        if _used_pages(connection) <= _REWRITTEN_PAGES:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")
            empty_log(connection)
    elif _number(connection, "freelist_count") > _KEPT_PAGES:
        connection.execute(f"PRAGMA incremental_vacuum({_GIVE_BACK_PAGES})").fetchall()
        if _number(connection, "freelist_count") > _KEPT_PAGES:
            return True
        empty_log(connection)
    return False


def empty_log(connection: sqlite3.Connection, wait: float = SHORT_WAIT_SECONDS) -> None:
    """Work the log into the database and give its bytes back, unless somebody reads for longer
    than `wait` seconds."""
    connection.execute(f"PRAGMA busy_timeout = {wait * 1000:.0f}")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")


def _used_pages(connection: sqlite3.Connection) -> int:
    return _number(connection, "page_count") - _number(connection, "freelist_count")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    found: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return found


def _tells_of_damage(text: str) -> bool:
    return any(words in text for words in _DAMAGE)


@contextmanager
def troubles(file: Path) -> Iterator[None]:
    """Turns SQLite's errors into ours."""
    try:
        yield
    except ERRORS as error:
        text = str(error)
        broken = not isinstance(error, sqlite3.OperationalError) or _tells_of_damage(text)
        kind = DatabaseDamaged if broken else DatabaseTrouble
        raise kind(f"{file}: {text}") from error


def connect(
    file: Path, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by `transaction`."""
    connection = sqlite3.connect(
        file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=factory
    )
    # A flipped bit that SQLite can't notice must not make a row unreadable.
    connection.text_factory = _lenient_text
    connection.execute("PRAGMA synchronous = FULL")
    # Some builds overwrite what is deleted: the log would hold all of it once more.
    connection.execute("PRAGMA secure_delete = OFF")
    return connection


class _Bounded(sqlite3.Connection):
    """Each of its statements ends in time."""

    seconds = 0.0
    _deadline = 0.0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._deadline = time.monotonic() + self.seconds
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        self._deadline = time.monotonic() + self.seconds
        return super().executemany(*arguments)

    def is_late(self) -> bool:
        return time.monotonic() > self._deadline


def connect_strange(file: Path, seconds: float) -> sqlite3.Connection:
    """A connection to what somebody else may have made of the file: its views and triggers call no
    function that does something, and no statement takes longer than `seconds`."""
    connection = connect(file, _Bounded)
    assert isinstance(connection, _Bounded)
    connection.seconds = seconds
    connection.set_progress_handler(connection.is_late, _STEPS_A_LOOK)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE_BYTES)
    connection.execute("PRAGMA trusted_schema = OFF")
    # In a folder that it is shut into there is no place for temporary files.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def check(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError when the file is damaged."""
    _check_pages(connection)
    _check_rows(connection)


def _check_head(file: Path) -> None:
    """One damaged byte has SQLite take the file for one of a later version, which it only reads.

    To be called while this process has no connection to it: to close a file gives up its locks.
    """
    try:
        with file.open("rb") as database:
            head = database.read(len(_HEAD))
    except OSError:
        return  # what that means, SQLite says
    if head.startswith(_MAGIC) and head[_WRITE_VERSION : _WRITE_VERSION + 1] not in (b"\1", b"\2"):
        raise sqlite3.DatabaseError("malformed: its head is not what was written")


def _check_pages(connection: sqlite3.Connection) -> None:
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"malformed: {verdict}")


def _check_rows(connection: sqlite3.Connection) -> None:
    unsound = sum(
        not _sound(table, row)
        for table in _SEALED
        for row in connection.execute(f"SELECT * FROM {table}")
    )
    if unsound:
        raise sqlite3.DatabaseError(f"malformed: {unsound} rows are not what was written")


@contextmanager
def transaction(connection: sqlite3.Connection, file: Path) -> Iterator[sqlite3.Connection]:
    """All or nothing, durable when it ends. Raises DatabaseTrouble."""
    with troubles(file):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def checksum(*values: object) -> int:
    """Tells a row from one with a flipped bit, which SQLite can't notice."""
    # Text as the database gives it back: what was an enumeration's is plain text there.
    plain = (str(value) if isinstance(value, str) else value for value in values)
    about = repr(tuple(value for value in plain if not isinstance(value, bytes)))
    total = zlib.crc32(about.encode(errors="surrogatepass"))
    for value in values:
        if isinstance(value, bytes):
            total = zlib.crc32(value, total)
    return total


def _sound(table: str, row: tuple[Any, ...]) -> bool:
    return table not in _SEALED or bool(row[-1] == checksum(*row[_SEALED[table]]))


def read_state(file: Path) -> dict[str, str]:
    """What the models' table holds, of a file that can only be read; empty if not even that."""
    ways = ["mode=ro"]
    if not os.path.exists(f"{file}-wal"):
        ways.append("immutable=1")  # without a log nothing but this reads from a read-only disk
    for way in ways:
        with (
            suppress(*ERRORS),
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?{way}", uri=True)) as connection,
        ):
            return stored_state(connection)
    return {}


def stored_state(connection: sqlite3.Connection) -> dict[str, str]:
    """What the models' table holds, by key: JSON texts."""
    rows = connection.execute("SELECT * FROM state").fetchall()
    return {row[0]: row[1] for row in rows if _sound("state", row)}


def count_kept(file: Path) -> int:
    """How many rows wait to be published; 0 as well when the file can't be read."""
    try:
        with closing(connect(file)) as connection:
            kept: int = connection.execute("SELECT count(*) FROM spool").fetchone()[0]
            return kept
    except ERRORS:
        return 0


def _open(file: Path, log_bytes: int) -> sqlite3.Connection:
    _check_head(file)
    connection = connect(file)
    try:
        # One of an earlier version is rewritten by `give_back`.
        if not _number(connection, "page_count"):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {log_bytes // _PAGE_BYTES}")
        connection.execute(f"PRAGMA journal_size_limit = {log_bytes}")
        _check_pages(connection)
        connection.executescript(_SCHEMA)
        _check_rows(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _replace(file: Path, error: DatabaseDamaged, log_bytes: int) -> sqlite3.Connection:
    aside = _free_name(file)
    for suffix in PARTS:
        part = file.with_name(file.name + suffix)
        if part.exists():
            os.replace(part, aside.with_name(aside.name + suffix))
    log.critical("damaged: %s: put aside as %s", error, aside.name)
    fresh = _open(file, log_bytes)
    saved = _salvage(aside, fresh)
    counts = ", ".join(f"{table} {count}" for table, count in saved.items())
    log.critical("%s: carried over what could be read: %s", file, counts)
    return fresh


def _free_name(file: Path) -> Path:
    """Where to put it aside. Numbered: the time is for people, and may be that of a clock that
    steps."""
    from pyboot_svc.worker.storage.disk_budget import put_aside

    number = max((aside.order[0] for aside in put_aside(file)), default=0) + 1
    return file.with_name(f"{file.name}.damaged-{number}-{time.strftime('%Y%m%dT%H%M%S')}")


def _salvage(damaged: Path, fresh: sqlite3.Connection) -> dict[str, int]:
    """Copy the rows that can be read, table by table; how many of each."""
    saved = dict.fromkeys(_TABLES, 0)
    with (
        _sound_head(damaged),
        closing(sqlite3.connect(damaged, isolation_level=None)) as old,
    ):
        old.text_factory = _lenient_text
        for table in reversed(_TABLES):
            if table == "spool":
                # Without it SQLite reads nothing of a file that is shorter than it should be; with
                # it, what is missing reads as zeros, which only a checksum tells from data.
                with suppress(*ERRORS):
                    old.execute("PRAGMA writable_schema = ON")
            saved[table] = _salvage_table(old, fresh, table)
    return saved


@contextmanager
def _sound_head(file: Path) -> Iterator[None]:
    """Meanwhile it begins as it should: with one byte damaged there, no row could be read."""
    with file.open("rb") as database:
        found = database.read(len(_HEAD))
    alike = sum(one == other for one, other in zip(found, _HEAD, strict=False))
    if len(found) == len(_HEAD) and len(_HEAD) // 4 < alike < len(_HEAD):
        _write_head(file, _HEAD)
        yield
        _write_head(file, found)
    else:
        yield  # it is none, or sound


def _write_head(file: Path, head: bytes) -> None:
    with file.open("r+b") as database:
        database.write(head)


def _salvage_table(old: sqlite3.Connection, fresh: sqlite3.Connection, table: str) -> int:
    fresh.execute("BEGIN")
    rows = size = 0
    unnumbered: dict[int, tuple[Any, ...]] = {}  # a row may be read from both ends
    for row in _readable_rows(old, table):
        rows, size = rows + 1, size + sum(len(v) for v in row if isinstance(v, bytes))
        if rows >= _SALVAGED_ROWS or size >= _SALVAGED_BYTES:
            rows = size = 0
            fresh.execute("COMMIT")
            fresh.execute("BEGIN")
        if not _sound(table, row):
            continue  # better none than a wrong one
        if table in _NUMBERED and row[0] <= 0:
            # Its number is damaged, which no checksum covers: it gets another one, behind the rest.
            unnumbered[row[0]] = (None, *row[1:])
            continue
        _carry_over(fresh, table, row)
    for row in unnumbered.values():
        _carry_over(fresh, table, row)
    fresh.execute("COMMIT")
    saved: int = fresh.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return saved


def _carry_over(fresh: sqlite3.Connection, table: str, row: tuple[Any, ...]) -> None:
    marks = ",".join("?" * len(row))
    with suppress(*ERRORS):  # a row of nonsense, which breaks the table's rules
        fresh.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)


def _last_given(old: sqlite3.Connection, table: str) -> int:
    """The greatest number that a row of the table ever had; 0 if that can't be read."""
    with suppress(*ERRORS):
        for (number,) in old.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)):
            return int(number) + 1
    return 0


def _readable_rows(old: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """From both ends, each as far as it goes, then one by one what is between damaged pages."""
    ends = []
    for order in ("ASC", "DESC"):
        end = 0
        with suppress(*ERRORS):
            for number, *row in old.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid {order}"):
                end = number
                yield tuple(row)
        ends.append(end)
    first, last = ends[0], ends[1] or _last_given(old, table)
    for number in range(first + 1, min(last, first + _MOST_PROBES)):
        with suppress(*ERRORS):
            yield from old.execute(f"SELECT * FROM {table} WHERE rowid = ?", (number,))
