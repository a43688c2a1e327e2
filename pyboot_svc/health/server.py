"""The health socket of a worker or the master: whoever connects is told in one line how it does."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.health.record import Health
from pyboot_svc.sockets.lines import encode_line
from pyboot_svc.sockets.unix import answer_each, open_listener
from pyboot_svc.threads import spawn

_SEND_SECONDS = 1.0
# How often it looks whether its socket is still there.
_LOOK_SECONDS = 5.0

log = logging.getLogger(__name__)


class HealthServer:
    """Tells each that connects what `judge` gives then, from a thread of its own.

    Whatever clears folders may take the socket: it is made again, or who asks would be told that
    nobody runs, and no watchdog would see one that hangs.
    """

    def __init__(
        self, path: Path, judge: Callable[[], Health], owner: str = "worker of this instance"
    ) -> None:
        """Listens from now on; raises UnavailableError when that can't be done."""
        self._path = path
        self._judge = judge
        self._owner = owner
        self._closing = threading.Lock()
        self._closed = False
        self._listener = self._listen()
        spawn("health", self._serve)

    def close(self) -> None:
        with self._closing:
            self._closed = True
            self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        listener = open_listener(self._path, "health", self._owner)
        listener.settimeout(_LOOK_SECONDS)
        return listener

    def _serve(self) -> None:
        while True:
            answer_each(self._listener, self._answer)
            self._restore()

    def _restore(self) -> None:
        with self._closing:
            if self._closed or os.path.lexists(self._path):
                return
            try:
                listener = self._listen()
            except UnavailableError as error:
                log.debug("%s", error)  # as long as it is so: the next look may find it otherwise
                return
        log.warning("%s was removed; made it again", self._path)
        self._listener.close()
        self._listener = listener

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_SECONDS)
        connection.sendall(encode_line(self._judge().document()))
