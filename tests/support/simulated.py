"""Many instances without their processes: each tells the master what a test wants it to."""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyboot_svc.metrics.letters import answer
from pyboot_svc.metrics.snapshot import Latency, Rates, Snapshot
from support.snapshots import process, traffic

LETTER = {
    "id": 1,
    "topic": "plant/a",
    "kind": "model",
    "error": "ValueError: no\nTraceback",
    "attempts": 1,
    "created": 1e9,
    "request": None,
    "bytes": 7,
    "head": b'{"a":1}',
}


class Simulated:
    """`changes` are what the snapshots of single instances have else, and `rate` is all others'."""

    def __init__(self, path: Path, instances: Sequence[str]) -> None:
        self.changes: dict[str, dict[str, Any]] = {}
        self.rate = 10.0
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        for instance in instances:
            self._connect(path, instance)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(10)
        for key in list(self._selector.get_map().values()):
            self._leave(key)
        self._selector.close()

    def _connect(self, path: Path, instance: str) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(path))
        hello = {"instance": instance, "pid": os.getpid(), "version": "1"}
        connection.sendall(json.dumps(hello).encode() + b"\n")
        self._selector.register(connection, selectors.EVENT_READ, instance)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.2):
                connection: Any = key.fileobj
                asked = connection.recv(100)
                if not asked:
                    self._leave(key)
                    continue
                for question in asked.decode().splitlines():
                    figures = question == "?"
                    told = self._snapshot(key.data) if figures else answer(question, 1, [LETTER])
                    connection.sendall(json.dumps(told).encode() + b"\n")

    def _leave(self, key: selectors.SelectorKey) -> None:
        connection: Any = key.fileobj
        self._selector.unregister(connection)
        connection.close()

    def _snapshot(self, instance: str) -> dict[str, Any]:
        flow = traffic(rates=Rates(self.rate, self.rate), latency_ms=Latency(1.0, 2.0))
        document = Snapshot(process(instance=instance), flow).document()
        return {**document, **self.changes.get(instance, {})}
