"""Rows of what is still to be published, as the database has them: sizes, reading, deleting."""

from __future__ import annotations

import binascii
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyboot_svc.worker.messages import StoredMessage

if TYPE_CHECKING:
    import sqlite3

# Of a row beside topic, payload and properties: numbers, lengths, its place in the page.
ROW_BYTES = 64
_SIZE = (
    "length(CAST(topic AS BLOB)) + length(payload) + length(CAST(properties AS BLOB)) + "
    f"{ROW_BYTES}"
)

# SQLite keeps values of any type in any column, as a damage or another version may have left them.
_COLUMNS = (
    "id, CAST(topic AS TEXT), CAST(payload AS BLOB), CAST(qos AS INTEGER), "
    "CAST(properties AS TEXT), CAST(created AS REAL), typeof(topic) = 'text' AND "
    "typeof(payload) = 'blob' AND typeof(qos) = 'integer' AND typeof(properties) = 'text'"
)
_WRONG_TYPE = "its row on the disk is damaged: a column has a value of another type"
_NO_TEXTS = "its row on the disk is damaged: a property is no text"

# What a row's properties keep beside user properties, whose values are texts: under this name
# `retain` and others, encoded.
_OPTIONS = ""

Row = tuple[str, bytes, int, Mapping[str, Any]]
# As it is written: topic, payload, QoS, properties as JSON.
Record = tuple[str, bytes, int, str]


def record(row: Row) -> Record:
    topic, payload, qos, properties = row
    return topic, payload, qos, json.dumps(dict(properties))


def record_size(topic: str, payload: bytes, properties: str) -> int:
    """What it takes of the disk, in bytes, about."""
    return len(topic.encode()) + len(payload) + len(properties.encode()) + ROW_BYTES


def row_size(topic: str, payload: bytes, properties: Mapping[str, str]) -> int:
    """What it takes of the disk, in bytes, about."""
    return record_size(topic, payload, json.dumps(dict(properties)))


def count(connection: sqlite3.Connection, lane: int) -> tuple[int, int]:
    """How many there are, and the bytes that they take."""
    number, size = connection.execute(
        f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM spool WHERE lane = ? AND id > 0",
        (lane,),
    ).fetchone()
    return number, size


def insert(
    connection: sqlite3.Connection, lane: int, records: Iterable[Record], created: float
) -> None:
    connection.executemany(
        "INSERT INTO spool (lane, topic, payload, qos, properties, created, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        _sealed(lane, records, created),
    )


def select(
    connection: sqlite3.Connection, lane: int, after: int
) -> Generator[tuple[StoredMessage, float], None, None]:
    """Those behind row number `after`, oldest first, each with the moment when it was made."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM spool WHERE lane = ? AND id > ? ORDER BY id",
        (lane, after),
    )
    try:
        for number, topic, payload, qos, properties, created, typed in rows:
            size = record_size(topic, payload, properties)
            user, options, flaw = _properties(properties)
            if not typed:
                flaw = _WRONG_TYPE
            yield (
                StoredMessage(topic, payload, qos, user, lane, number, size, options, flaw),
                created,
            )
    finally:
        rows.close()


def delete(connection: sqlite3.Connection, numbers: Iterable[int]) -> list[int]:
    """Says which of them were there: one that was given up while in flight is gone already."""
    there: list[int] = []
    for run in _runs(numbers):
        found = connection.execute("SELECT id FROM spool WHERE id BETWEEN ? AND ?", run)
        there.extend(number for (number,) in found)
        connection.execute("DELETE FROM spool WHERE id BETWEEN ? AND ?", run)
    return there


def parts(sizes: Mapping[int, int], most: int) -> Iterator[dict[int, int]]:
    """Cut to what one write should not exceed; each has at least one row."""
    part: dict[int, int] = {}
    left = most
    for row, size in sizes.items():
        if part and size > left:
            yield part
            part, left = {}, most
        part[row] = size
        left -= size
    yield part


def _sealed(lane: int, records: Iterable[Record], created: float) -> Iterator[tuple[Any, ...]]:
    from pyboot_svc.worker.storage.database import checksum

    for each in records:
        values = (lane, *each, created)
        yield (*values, checksum(*values))


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of what follows one another without a gap."""
    first = last = -1
    for number in sorted(numbers):
        if number != last + 1:
            if first >= 0:
                yield first, last
            first = number
        last = number
    yield first, last


def with_options(properties: Mapping[str, Any], retain: bool, encoded: bytes) -> dict[str, Any]:
    """The properties of a row that has options of its own."""
    return {**properties, _OPTIONS: [retain, encoded.hex()]}


def without_options(
    properties: Mapping[str, Any],
) -> tuple[Mapping[str, str], tuple[bool, bytes] | None]:
    """User properties, and the row's own options."""
    if _OPTIONS not in properties:
        return properties, None
    user = {key: value for key, value in properties.items() if key != _OPTIONS}
    try:
        retain, encoded = properties[_OPTIONS]
        return user, (bool(retain), binascii.unhexlify(encoded))
    except (ValueError, TypeError):
        return user, None


def _properties(text: str) -> tuple[Mapping[str, str], tuple[bool, bytes] | None, str | None]:
    """User properties, the row's own options, and what is wrong with them."""
    try:
        decoded = json.loads(text)
    except RecursionError:
        return {}, None, _NO_TEXTS
    except ValueError:  # a damage that SQLite can't notice: better without them
        return {}, None, None
    if not isinstance(decoded, dict):
        return {}, None, None
    user, options = without_options(decoded)
    if all(isinstance(value, str) for value in user.values()):
        return user, options, None
    return {}, options, _NO_TEXTS
