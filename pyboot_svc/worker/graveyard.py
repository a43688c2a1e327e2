"""Where messages end that the model can't process: kept locally, and published as dead letters."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyboot_svc import __version__
from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.spool import Lane, Row
from pyboot_svc.worker.store import Store

if TYPE_CHECKING:
    import sqlite3

# Of a user property: MQTT strings end at 65,535 bytes, and a broker may take less.
_LONGEST_TEXT = 8_000


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """Why a message ends here: its kind, the error with its traceback, how often it was tried."""

    kind: str
    error: str
    attempts: int = 1


class Graveyard:
    """`bury` makes a failed message durable, then has it settled.

    A dead letter carries the payload untouched, with what is known about it as MQTT 5 user
    properties; by MQTT 3.1.1, which has none, as a JSON envelope with the payload in base64.
    """

    def __init__(
        self, config: InstanceConfig, store: Store, lane: Lane, wake: Callable[[], None]
    ) -> None:
        edge = config.edge
        self._instance = str(config.identity)
        self._model = edge.edge_mode
        self._topic = edge.dead_letter.topic
        self._keep = edge.dead_letter.keep
        self._envelope = edge.post.broker.protocol != "5"
        self._drop = edge.on_error.then == "drop"
        self._most_bytes = edge.spool.max_bytes
        self._store = store
        self._lane = lane
        self._wake = wake
        self._limit = RateLimit(1, 30.0)

    def bury(self, buried: list[tuple[Message, Fault]], done: Callable[[], None]) -> None:
        """`done` is called when they are durable, or at once when they are only to be dropped."""
        if self._drop:
            done()
            return
        from pyboot_svc.worker.database import checksum

        now = time.time()
        records = []
        for message, fault in buried:
            values = self._record(message, fault, now)
            records.append((*values, checksum(*values)))

        def keep(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO dead (topic, payload, kind, error, attempts, model, version, created,"
                " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                records,
            )
            connection.execute(
                "DELETE FROM dead WHERE id <= (SELECT max(id) FROM dead) - ?", (self._keep,)
            )

        def durable() -> None:
            done()
            self._wake()

        # Both in the store's queue: when the second is durable, so is the first.
        self._store.submit(keep, lambda: None)
        letters = [self._letter(message, fault, now) for message, fault in buried]
        self._lane.append(letters if self._has_room() else [], durable)

    def _has_room(self) -> bool:
        if self._lane.size < self._most_bytes:
            return True
        if self._limit.admit("full") is not None:
            log.error(
                "dead letters hold their %d bytes: more are not published, only kept locally; "
                "see pyboot dead list",
                self._most_bytes,
            )
        return False

    def _record(
        self, message: Message, fault: Fault, now: float
    ) -> tuple[str, bytes, str, str, int, str, str, float]:
        return (
            message.topic,
            message.payload,
            fault.kind,
            fault.error.encode(errors="backslashreplace").decode(),
            fault.attempts,
            self._model,
            __version__,
            now,
        )

    def _letter(self, message: Message, fault: Fault, now: float) -> Row:
        about = {
            "pyboot-id": message.id,
            "topic": message.topic,
            "time": f"{now:.3f}",
            "kind": fault.kind,
            "error": fault.error[-_LONGEST_TEXT:],
            "attempts": str(fault.attempts),
            "instance": self._instance,
            "model": self._model,
            "version": __version__,
        }
        if not self._envelope:
            clean = {key: _property_text(value) for key, value in about.items()}
            return self._topic, message.payload, 1, clean
        envelope = {**about, "payload_base64": base64.b64encode(message.payload).decode()}
        return self._topic, json.dumps(envelope).encode(), 1, {}


def _property_text(text: str) -> str:
    """A user property must not have control characters (MQTT 5, section 1.5.4): escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
