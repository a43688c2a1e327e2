"""The trace socket of a worker: whoever may look is shown messages as they pass, as JSON lines."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pyboot_svc.errors import UnavailableError, in_words
from pyboot_svc.sockets.lines import MAX_LINE, decode_line, encode_line
from pyboot_svc.sockets.peers import may_look
from pyboot_svc.sockets.unix import answer_each, open_listener
from pyboot_svc.threads import spawn
from pyboot_svc.tracing.wish import Wish, read_wish

SOCKET_NAME = "trace.sock"
_WHO = "only root and the group pyboot may look"
_WISH_SECONDS = 2.0
_POLL_SECONDS = 0.1
# Who reads nothing for so long, as one that was stopped, is left alone.
PATIENCE_SECONDS = 20.0


class Watch(Protocol):
    """What one of those who look is to be shown."""

    def documents(self) -> Iterable[dict[str, Any]]:
        """What has passed since the last time."""

    def close(self) -> None: ...


class TraceServer:
    """`watch` begins to take samples for somebody; it gives None when too many look already."""

    def __init__(self, folder: Path, watch: Callable[[Wish], Watch | None]) -> None:
        """Listens from now on; raises UnavailableError when that can't be done."""
        self._watch = watch
        try:
            # Not by its whole path, which may be longer than a socket's.
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._path = Path(f"/proc/self/fd/{self._folder}", SOCKET_NAME)
            listener = open_listener(self._path, "trace", "worker of this instance")
            self._path.chmod(0o666)  # who may look is decided for each who asks
        except OSError as error:
            raise UnavailableError(
                f"{folder / SOCKET_NAME} can't be made: {in_words(error)}"
            ) from error
        spawn("trace", partial(answer_each, listener, self._answer))

    def close(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _answer(self, connection: socket.socket) -> None:
        """In a thread of its own: it may look for as long as it likes."""
        own = connection.dup()
        spawn("trace-viewer", partial(self._serve, own), on_crash=own.close)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            connection.settimeout(_WISH_SECONDS)
            if not may_look(connection):
                _send(connection, {"error": f"{_WHO}; try as root (sudo)"})
                return
            with connection.makefile("rb") as stream:
                wish = read_wish(decode_line(stream.readline(MAX_LINE)))
            watch = self._watch(wish)
            if watch is None:
                _send(connection, {"error": "others look already, as many as may at a time"})
                return
            try:
                _send(connection, {"watching": True})
                while not _has_gone(connection):
                    for document in watch.documents():
                        _send(connection, document)
            finally:
                watch.close()


def _send(connection: socket.socket, document: dict[str, Any]) -> None:
    connection.settimeout(PATIENCE_SECONDS)
    connection.sendall(encode_line(document))


def _has_gone(connection: socket.socket) -> bool:
    """Looks for a moment; who looks has nothing more to say."""
    connection.settimeout(_POLL_SECONDS)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
