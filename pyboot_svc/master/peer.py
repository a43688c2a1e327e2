"""A worker's connection, as the hub has it: who is there, and which answers it still owes."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from pyboot_svc.metrics.protocol import LONGEST_HELLO
from pyboot_svc.sockets.gate import Channel
from pyboot_svc.sockets.lines import MAX_LINE
from pyboot_svc.sockets.peers import address_of, network_of, process_of
from pyboot_svc.sockets.tcp import notice_silence
from pyboot_svc.sockets.tls import Certificates, SecureChannel

ANSWER_SECONDS = 1.0
HELLO_SECONDS = 5.0


@dataclass(frozen=True)
class Reading:
    """What one instance answered, or why there is no answer (`error`)."""

    snapshot: dict[str, Any] | None
    error: str | None


class Nonsense(Exception):
    """A peer doesn't speak the protocol."""


class Scrape:
    """One question to all workers, and the answers as they come in."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.asked: set[str] = set()
        self.answers: dict[str, Reading] = {}
        self.sent = False
        self.done = threading.Event()

    def answer(self, instance: str, reading: Reading | None) -> None:
        if reading is not None:
            self.answers[instance] = reading
        self.asked.discard(instance)
        self.finish_if_complete()

    def finish_if_complete(self) -> None:
        if self.sent and not self.asked:
            self.done.set()


class Inquiry:
    """Another question than for figures, to one worker."""

    def __init__(self, instance: str, asked: str) -> None:
        self.instance = instance
        self.asked = asked
        self.answer: dict[str, Any] = {
            "error": f"no answer within {ANSWER_SECONDS:.0f} s; a worker of an earlier version "
            "gives none"
        }
        self.done = threading.Event()

    def end(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.done.set()


class Peer:
    """One connection: a worker, once it has said hello."""

    def __init__(self, connection: socket.socket, certificates: Certificates | None) -> None:
        """Secured by `certificates`, if it comes from the network. Raises OSError."""
        self.pid = process_of(connection)
        self.network = network_of(address_of(connection))
        self.channel: Channel = connection
        if connection.family != socket.AF_UNIX:
            notice_silence(connection)
            if certificates is not None:
                self.channel = certificates.wrap(connection)
        self.instance: str | None = None
        # Which one it says to be, before that is believed.
        self.claimed = ""
        self.hello_due = time.monotonic() + HELLO_SECONDS
        self.unanswered: deque[Scrape] = deque()
        # Who waits for the answer to which question. A worker of an earlier version gives none.
        self.inquiries: dict[str, list[Inquiry]] = {}
        self._pending = b""

    @property
    def certified(self) -> frozenset[str] | None:
        """Whom an authority vouches for; None where none is asked."""
        return self.channel.certified if isinstance(self.channel, SecureChannel) else None

    @property
    def is_mute(self) -> bool:
        """Whether it should have answered by now."""
        return bool(self.unanswered) and (
            time.monotonic() - self.unanswered[0].began > ANSWER_SECONDS
        )

    def read_lines(self) -> list[bytes]:
        """The complete lines; raises ConnectionError at the end, Nonsense when one is too long."""
        data = self.channel.recv(MAX_LINE)
        if not data:
            raise ConnectionResetError
        *lines, self._pending = (self._pending + data).split(b"\n")
        # Of a stranger, no more is kept than a hello has.
        most = MAX_LINE if self.instance is not None else LONGEST_HELLO
        if len(self._pending) > most or any(len(line) > most for line in lines):
            raise Nonsense(f"a line of more than {most} bytes")
        return lines
