"""Reads the rows of a lane, by a connection of its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Set
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.worker.messages import StoredMessage
from pyboot_svc.worker.storage import rows

if TYPE_CHECKING:
    import sqlite3

# One read takes up to so many bytes of rows: they wait in memory then.
_READ_BYTES = 1024**2


class RowReader:
    """The outbox takes rows while the forwarder looks for old ones: one query at a time."""

    def __init__(self, file: Path, lane: int) -> None:
        self._file = file
        self._lane = lane
        self._connection: sqlite3.Connection | None = None
        self._reading = threading.Lock()

    def read(
        self, after: int, most: int, without: Set[int], before: float = math.inf
    ) -> list[StoredMessage]:
        """Up to `most` rows behind number `after`, or as many bytes as a read takes, at least one.

        Without those `without`, and none made later than `before`. The file stays open for the next
        read. Raises OSError when it can't be read.
        """
        from pyboot_svc.worker.storage.database import connect, troubles

        with self._reading, troubles(self._file):
            if self._connection is None:
                self._connection = connect(self._file)
            with closing(rows.select(self._connection, self._lane, after)) as found:
                return list(islice(_some(found, without, before), most))

    def close(self) -> None:
        """Until the next read."""
        with self._reading:
            # One that is only dropped stays open for a while, in a cycle.
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()


def _some(
    found: Iterable[tuple[StoredMessage, float]], without: Set[int], before: float
) -> Iterator[StoredMessage]:
    size = 0
    for item, created in found:
        if size >= _READ_BYTES or created >= before:
            return
        if item.row not in without:
            size += item.size
            yield item
