"""The health socket of a worker or the master: whoever connects is told in one line how it does."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pyboot_svc.health.record import Health
from pyboot_svc.sockets.lines import encode_line
from pyboot_svc.sockets.unix import answer_each, open_listener
from pyboot_svc.threads import spawn

_SEND_SECONDS = 1.0


class HealthServer:
    """Tells each that connects what `judge` gives then, from a thread of its own."""

    def __init__(
        self, path: Path, judge: Callable[[], Health], owner: str = "worker of this instance"
    ) -> None:
        """Listens from now on; raises UnavailableError when that can't be done."""
        self._path = path
        self._judge = judge
        listener = open_listener(path, "health", owner)
        spawn("health", partial(answer_each, listener, self._answer))

    def close(self) -> None:
        self._path.unlink(missing_ok=True)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_SECONDS)
        connection.sendall(encode_line(self._judge().document()))
