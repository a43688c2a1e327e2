"""A damaged file is put aside, what can be read of it is carried over, and it is said."""

from __future__ import annotations

import os
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.locked import not_root

from pyboot_svc.worker.storage import rows
from pyboot_svc.worker.storage.database import (
    DatabaseDamaged,
    DatabaseTrouble,
    check,
    checksum,
    connect,
    count_kept,
    open_database,
    read_state,
    transaction,
    troubles,
)

ROWS = 60
PAGE, PAGES = 4096, 22


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "worker.sqlite"


def add_row(connection: sqlite3.Connection, lane: int, payload: bytes, created: float) -> None:
    values = (lane, "out", payload, 1, "{}", created)
    connection.execute(
        "INSERT INTO spool (lane, topic, payload, qos, properties, created, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*values, checksum(*values)),
    )


def keep(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (key, value, checksum(key, value))
    )


def fill(file: Path, count: int = ROWS) -> None:
    with closing(open_database(file)) as connection, transaction(connection, file):
        for number in range(count):
            add_row(connection, number % 2, b"%d" % number * 300, float(number))
        dead = ("in", b"\x00\xff", "model", "e", 4, "m.f", "1", 1.5)
        connection.execute(
            "INSERT INTO dead (topic, payload, kind, error, attempts, model, version, created, "
            "checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*dead, checksum(*dead)),
        )
        connection.execute("INSERT INTO crashes VALUES ('c', 2, 1.5)")
        keep(connection, "k", "1")


def spooled(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    return connection.execute("SELECT id, payload FROM spool ORDER BY id").fetchall()


def expected(count: int = ROWS) -> list[tuple[int, bytes]]:
    return [(number + 1, b"%d" % number * 300) for number in range(count)]


def aside(file: Path) -> list[Path]:
    return [path for path in file.parent.glob("*.damaged-*") if path.suffix[-4:-3] != "-"]


def test_what_was_written_comes_back(file: Path) -> None:
    fill(file)
    with closing(open_database(file)) as connection:
        assert spooled(connection) == expected()
        check(connection)
    assert not aside(file)
    assert count_kept(file) == ROWS


def test_durable_by_each_commit_and_readable_meanwhile(file: Path) -> None:
    with closing(open_database(file)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        with transaction(connection, file), closing(connect(file)) as reader:
            keep(connection, "k", "1")
            assert reader.execute("SELECT * FROM state").fetchall() == []


def test_a_transaction_is_all_or_nothing(file: Path) -> None:
    with closing(open_database(file)) as connection:
        with suppress(ZeroDivisionError), transaction(connection, file):
            keep(connection, "k", "1")
            _ = 1 / 0
        assert connection.execute("SELECT * FROM state").fetchall() == []
        with transaction(connection, file):
            keep(connection, "k", "2")
        assert connection.execute("SELECT key, value FROM state").fetchall() == [("k", "2")]


@pytest.mark.parametrize("content", [b"x" * 5000, b"\x00" * 100_000, b"\xff" * 512, b"SQLite f"])
def test_a_file_that_is_no_database_is_put_aside(
    file: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(content)
    with closing(open_database(file)) as connection:
        assert spooled(connection) == []
    [put_aside] = aside(file)
    assert put_aside.read_bytes() == content
    assert f"put aside as {put_aside.name}" in caplog.text


def test_an_empty_file_is_a_new_database(file: Path) -> None:
    file.touch()
    with closing(open_database(file)) as connection:
        assert spooled(connection) == []
    assert not aside(file)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
def test_a_file_that_was_cut_off(
    file: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    fill(file)
    size = file.stat().st_size
    os.truncate(file, int(size * share))
    with closing(open_database(file)) as connection:
        left = spooled(connection)
        check(connection)
    assert set(left) < set(expected())
    assert len(aside(file)) == 1
    assert re.search(rf"carried over what could be read: .*\bspool {len(left)}\b", caplog.text)


@pytest.mark.parametrize("page", range(1, PAGES))
def test_a_page_of_rubbish_loses_no_more_than_it_held(file: Path, page: int) -> None:
    fill(file)
    assert file.stat().st_size == PAGES * PAGE
    with file.open("r+b") as damaged:
        damaged.seek(page * PAGE)
        leaf = damaged.read(1) == b"\x0d"
        damaged.seek(page * PAGE)
        damaged.write(random.Random(page).randbytes(PAGE))
    with closing(open_database(file)) as connection:
        left = spooled(connection)
        check(connection)
    assert set(left) <= set(expected())
    assert [number for number, _ in left] == sorted(number for number, _ in left)
    if leaf:
        assert len(left) >= ROWS - 12


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_never_keep_it_from_opening(file: Path, seed: int) -> None:
    chance = random.Random(seed)
    fill(file)
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 3, 30])):
        content[chance.randrange(len(content))] ^= chance.randint(1, 255)
    file.write_bytes(content)
    with closing(open_database(file)) as connection:
        check(connection)
        spooled(connection)
        with transaction(connection, file):
            keep(connection, "new", "1")


@pytest.mark.parametrize("page", range(8))
def test_flipped_bytes_at_the_head_of_each_page(file: Path, page: int) -> None:
    fill(file)
    with file.open("r+b") as damaged:
        damaged.seek(page * PAGE)
        head = damaged.read(12)
        damaged.seek(page * PAGE)
        damaged.write(bytes(byte ^ 0xFF for byte in head))
    with closing(open_database(file)) as connection:
        check(connection)
        assert set(spooled(connection)) <= set(expected())


def test_order_and_numbers_go_on_after_a_salvage(file: Path) -> None:
    fill(file)
    with file.open("r+b") as damaged:
        damaged.seek(12 * PAGE)
        damaged.write(b"\xff" * PAGE)
    with closing(open_database(file)) as connection:
        assert aside(file)
        last = spooled(connection)[-1][0]
        add_row(connection, 0, b"new", 1.0)
        assert spooled(connection)[-1][0] > last >= ROWS - 10


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("spool", "payload = x'00' WHERE id = 7"),
        ("dead", "payload = x'00fe'"),
        ("dead", "error = 'f'"),
        ("state", "value = '3'"),
        ("state", "key = 'l'"),
        ("state", "value = x'31'"),
    ],
)
def test_a_row_that_is_not_what_was_written_is_left_behind(
    file: Path, table: str, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {change}")
    with closing(open_database(file)) as connection:
        check(connection)
        left = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in ("spool", "dead", "crashes", "state")
        }
    whole = {"spool": ROWS, "dead": 1, "crashes": 1, "state": 1}
    assert left == {**whole, table: whole[table] - 1}
    assert "1 rows are not what was written" in caplog.text
    assert len(aside(file)) == 1


def test_what_a_person_asks_for_is_no_damage(file: Path) -> None:
    fill(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE dead SET request = 'retry'")
    open_database(file).close()
    assert not aside(file)


def test_each_damaged_file_is_kept(file: Path) -> None:
    contents = [b"%d" % number * 5000 for number in range(5)]
    for content in contents:
        file.write_bytes(content)
        open_database(file).close()
    assert sorted(path.read_bytes() for path in aside(file)) == contents


def test_state_of_a_file_that_can_only_be_read(file: Path) -> None:
    assert read_state(file) == {}
    fill(file)
    assert read_state(file) == {"k": "1"}
    file.write_bytes(b"x" * 5000)
    assert read_state(file) == {}


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Not even root may write, who is somebody else during the test."""
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder != Path("/") and "pytest" in folder.name:
                folder.chmod(folder.stat().st_mode | 0o055)
    else:
        tmp_path.chmod(0o500)
    with not_root():
        yield
    tmp_path.chmod(0o700)


@pytest.mark.usefixtures("nobody")
def test_a_folder_that_may_not_be_written_is_trouble_and_no_damage(file: Path) -> None:
    with pytest.raises(DatabaseTrouble, match="unable to open database file") as caught:
        open_database(file)
    assert not isinstance(caught.value, DatabaseDamaged)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.OperationalError("database or disk is full"), DatabaseTrouble),
        (sqlite3.OperationalError("disk I/O error"), DatabaseTrouble),
        (sqlite3.OperationalError("database is locked"), DatabaseTrouble),
        (sqlite3.OperationalError("database disk image is malformed"), DatabaseDamaged),
        (sqlite3.DatabaseError("file is not a database"), DatabaseDamaged),
        (sqlite3.DatabaseError("database disk image is malformed"), DatabaseDamaged),
    ],
)
def test_kinds_of_trouble(file: Path, error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(DatabaseTrouble) as caught, troubles(file):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value) == f"{file}: {error}"


def test_rows_of_a_file_that_is_none_are_not_counted(file: Path) -> None:
    file.write_bytes(b"x" * 5000)
    assert count_kept(file) == 0
    assert count_kept(file.parent / "absent" / "worker.sqlite") == 0


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
def test_a_row_whose_number_is_damaged_is_carried_over_behind_the_rest(
    file: Path, number: int
) -> None:
    """No checksum covers the number; readers take rows from 1 on, and one below would stay."""
    fill(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        payload = connection.execute("SELECT payload FROM spool WHERE id = 7").fetchone()
        connection.execute("UPDATE spool SET id = ? WHERE id = 7", (number,))
        connection.execute("UPDATE state SET value = '3'")
    with closing(open_database(file)) as connection:
        check(connection)
        assert aside(file)
        numbers = [found[0] for found in connection.execute("SELECT id FROM spool ORDER BY id")]
        last = connection.execute("SELECT payload FROM spool ORDER BY id DESC LIMIT 1").fetchone()
        assert (len(numbers), min(numbers), last) == (ROWS, 1, payload)
        assert sum(rows.count(connection, lane)[0] for lane in (0, 1)) == ROWS


@pytest.mark.parametrize(
    ("at", "byte"), [(0, 0), (16, 0xFF), (18, 6), (19, 6), (21, 9), (44, 0xA5), (56, 9)]
)
def test_a_damaged_head_costs_no_row(file: Path, at: int, byte: int) -> None:
    """Read-only or "unsupported file format": that is no trouble of the disk's, which may pass."""
    fill(file)
    content = bytearray(file.read_bytes())
    content[at] = byte
    file.write_bytes(content)
    with closing(open_database(file)) as connection:
        with transaction(connection, file):
            keep(connection, "new", "1")
        assert spooled(connection) == expected()
    assert [put_aside.read_bytes() for put_aside in aside(file)] in ([], [bytes(content)])


def test_a_file_that_has_shifted_is_damaged(file: Path) -> None:
    fill(file)
    content = file.read_bytes()
    file.write_bytes(content[:16] + content[:16] + content[16:])
    with closing(open_database(file)) as connection, transaction(connection, file):
        keep(connection, "new", "1")
    assert aside(file)
