"""Looks at workers' trace sockets."""

from __future__ import annotations

import os
import selectors
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pyboot_svc.errors import UnavailableError, in_words, told
from pyboot_svc.health.client import health_socket
from pyboot_svc.identity import InstanceId
from pyboot_svc.sockets.lines import MAX_LINE, decode_line, encode_line
from pyboot_svc.tracing.server import SOCKET_NAME
from pyboot_svc.tracing.wish import Wish

_SECONDS = 5.0


def trace_socket(run_dir: Path, state_dir: Path, identity: InstanceId) -> Path | None:
    """That of a worker: beside its health socket, or with its state; None if there is none.

    Raises UnavailableError for a folder that isn't this user's to look into.
    """
    for folder in (health_socket(run_dir, identity).parent, state_dir / str(identity)):
        path = folder / SOCKET_NAME
        try:
            path.lstat()
        except PermissionError as error:
            raise UnavailableError(f"{path}: {in_words(error)}") from error
        except OSError:
            continue
        return path
    return None


def watch_messages(sockets: Mapping[str, Path], wish: Wish) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each message that passes, with the name of its instance, as long as one of them runs.

    Raises UnavailableError when one can't be looked at.
    """
    gone: NotRunning | None = None
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for name, path in sockets.items():
            try:
                viewer = stack.enter_context(_Viewer(name, path, wish))
            except NotRunning as error:
                gone = error
                continue
            selector.register(viewer.connection, selectors.EVENT_READ, viewer)
        if gone is not None and not selector.get_map():
            raise gone
        while selector.get_map():
            for key, _ in selector.select():
                documents = key.data.documents()
                if documents is None:
                    selector.unregister(key.fileobj)
                    continue
                yield from ((key.data.name, document) for document in documents)


class NotRunning(UnavailableError):
    """The worker was killed: its socket is left."""


class _Viewer:
    def __init__(self, name: str, path: Path, wish: Wish) -> None:
        self.name = name
        self._begun = b""
        self.connection = socket.socket(socket.AF_UNIX)
        try:
            self.connection.settimeout(_SECONDS)
            _connect(self.connection, path)
            with suppress(BrokenPipeError):  # who may not look is told so before
                self.connection.sendall(encode_line(wish.document()))
        except OSError as error:
            self.connection.close()
            if isinstance(error, ConnectionRefusedError):
                raise NotRunning(f"{name} doesn't run: nobody listens at {path}") from error
            why = error.strerror or str(error)
            raise UnavailableError(f"{name} can't be looked at: {path}: {why}") from error

    def __enter__(self) -> _Viewer:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def documents(self) -> Sequence[dict[str, Any]] | None:
        """What has come; None at the end. Raises UnavailableError."""
        try:
            data = self._received()
            if not data:
                return None
            *lines, self._begun = (self._begun + data).split(b"\n")
            if len(self._begun) > MAX_LINE:
                raise ValueError("a line that never ends")
            documents = [decode_line(line) for line in lines]
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{self.name} can't be looked at: {told(error)}") from error
        for document in documents:
            if "time" not in document and "error" in document:
                raise UnavailableError(f"{self.name} can't be looked at: {document['error']}")
        return [document for document in documents if "watching" not in document]

    def _received(self) -> bytes:
        try:
            return self.connection.recv(MAX_LINE)
        except ConnectionResetError:  # it has ended before it read what we wish
            return b""


def _connect(connection: socket.socket, path: Path) -> None:
    """The folder is the worker's, and who looks may be root: no link is followed."""
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(place).st_mode):
            raise OSError("it is no socket")
        connection.connect(f"/proc/self/fd/{place}")
    finally:
        os.close(place)
