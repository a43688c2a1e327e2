"""Where messages end that the model can't process: kept locally, and published as dead letters."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pyboot_svc import __version__
from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.text import clip_utf8, property_text
from pyboot_svc.worker.delivery.kept_dead_letters import KeptDeadLetters, Record, record_size
from pyboot_svc.worker.messages import Fault, Message
from pyboot_svc.worker.storage.disk_budget import bytes_on_pages, dead_letter_bytes
from pyboot_svc.worker.storage.durable_queue import DurableQueue, Row
from pyboot_svc.worker.storage.rows import row_size
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

# Of what user properties tell, in bytes: MQTT strings end at 65,535, and brokers take less. More
# stands in the local copy; a model may quote its whole input in an error.
_LONGEST_ERROR = 8_000
_LONGEST_NAME = 2_000
_LONGEST_KEPT_ERROR = 64 * 1024

log = logging.getLogger(__name__)


REFUSED = "refused"


def refused(reason: str) -> Fault:
    """Of an input whose result will never be published."""
    return Fault(REFUSED, reason)


def refused_result(reason: str) -> Fault:
    """Of a result that waited in the spool, whose input is gone by then, or of one of several."""
    return Fault(
        REFUSED,
        f"{reason}\n(This is the result itself, not the input that led to it. `pyboot dead retry` "
        "publishes it.)",
        attempts=0,
    )


def is_result(kind: str, attempts: int) -> bool:
    """Whether what is kept is no input, but a result that could not be published."""
    return kind == REFUSED and attempts == 0


class DeadLetters:
    """`add` makes a failed message durable, then has it settled.

    A dead letter carries the payload untouched, with what is known about it as MQTT 5 user
    properties; by MQTT 3.1.1, which has none, as a JSON envelope with the payload in base64.
    """

    def __init__(
        self,
        config: InstanceConfig,
        store: DatabaseWriter,
        lane: DurableQueue,
        wake: Callable[[], None],
    ) -> None:
        edge = config.edge
        self._instance = str(config.identity)
        self._model = edge.edge_mode
        self._topic = edge.dead_letter.topic
        self._envelope = edge.post.broker.protocol != "5"
        self._publish = edge.dead_letter.publish
        self._traceback = edge.dead_letter.traceback
        self._drop = edge.on_error.then == "drop"
        budget = edge.spool.max_bytes
        self._most_bytes = dead_letter_bytes(budget, edge.dead_letter.max_bytes)
        self._kept = KeptDeadLetters(store, edge.dead_letter.keep, self._most_bytes)
        self._store = store
        self._lane = lane
        self._wake = wake
        self._limit = RateLimit(1, 30.0)

    def add(self, failed: list[tuple[Message, Fault]], done: Callable[[], None]) -> None:
        """`done` is called when they are durable, or at once when they are only to be dropped."""
        if self._drop or not failed:
            done()
            return
        parts = self._parts(failed, time.time())
        left = _Countdown(len(parts), done)
        for records, letters, size in parts:
            # Both in the store's queue: when the second is durable, so is the first.
            self._store.submit(partial(self._keep, records), lambda: None, growth=size)
            leaving = letters if self._publish and self._has_room(letters) else []
            self._lane.append(leaving, partial(self._end, left))

    def _keep(self, records: list[Record], connection: sqlite3.Connection) -> None:
        self._kept.add(connection, records)

    def _end(self, left: _Countdown) -> None:
        left.one()
        self._wake()

    def _parts(
        self, failed: list[tuple[Message, Fault]], now: float
    ) -> list[tuple[list[Record], list[Row], int]]:
        """What is kept, what is published, and the bytes of the former: cut to what one commit may
        write."""
        parts: list[tuple[list[Record], list[Row], int]] = []
        for message, fault in failed:
            record = self._record(message, fault, now)
            letter = self._letter(message, fault, now)
            size = bytes_on_pages(record_size(record))
            if parts and parts[-1][2] + size <= self._store.most_at_once:
                records, letters, before = parts[-1]
                records.append(record)
                letters.append(letter)
                parts[-1] = (records, letters, before + size)
            else:
                parts.append(([record], [letter], size))
        return parts

    def _has_room(self, letters: list[Row]) -> bool:
        size = sum(row_size(topic, payload, about) for topic, payload, _, about in letters)
        if self._lane.size + size <= self._most_bytes or not self._lane.busy:
            return True
        if self._limit.admit("full") is not None:
            log.error(
                "dead letters hold their %d bytes: more are not published, only kept locally; "
                "see pyboot dead list",
                self._most_bytes,
            )
        return False

    def _record(self, message: Message, fault: Fault, now: float) -> Record:
        return (
            message.topic,
            message.payload,
            fault.kind,
            clip_utf8(fault.error, _LONGEST_KEPT_ERROR),
            fault.attempts,
            self._model,
            __version__,
            now,
        )

    def _letter(self, message: Message, fault: Fault, now: float) -> Row:
        error = fault.error if self._traceback else fault.error.partition("\n")[0]
        about = {
            "pyboot-id": message.id,
            "topic": message.topic,
            "time": f"{now:.3f}",
            "kind": fault.kind,
            "error": clip_utf8(error, _LONGEST_ERROR),
            "attempts": str(fault.attempts),
            "instance": self._instance,
            "model": self._model,
            "version": __version__,
        }
        if not self._envelope:
            clean = {key: property_text(value, _LONGEST_NAME) for key, value in about.items()}
            clean["error"] = property_text(error, _LONGEST_ERROR)
            return self._topic, message.payload, 1, clean
        envelope = {**about, "payload_base64": base64.b64encode(message.payload).decode()}
        return self._topic, json.dumps(envelope).encode(), 1, {}


class _Countdown:
    """Calls `done` when so many things have come true."""

    def __init__(self, left: int, done: Callable[[], None]) -> None:
        self._left = left
        self._done = done
        self._lock = threading.Lock()

    def one(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done()
