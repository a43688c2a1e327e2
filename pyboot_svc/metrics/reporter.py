"""The worker's end of the metrics socket. Without a master it waits for one."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyboot_svc import __version__
from pyboot_svc.address import Address, format_address
from pyboot_svc.backoff import Backoff
from pyboot_svc.metrics.protocol import ASK
from pyboot_svc.sockets.lines import MAX_LINE, encode_line
from pyboot_svc.sockets.tcp import connect_tcp
from pyboot_svc.threads import spawn

_FIRST_RETRY, _LAST_RETRY = 0.1, 2.0

log = logging.getLogger(__name__)


class Reporter:
    """Connects, says hello, answers; and connects again, for ever.

    `master` is its socket's path, or its address on the network; `token` gives what proves that it
    is this instance, empty for nothing. `tell` answers other questions than for figures, as far as
    it knows them. With `tls`, what is said on the network is secured by the files in that folder.
    """

    def __init__(
        self,
        master: Path | Address,
        instance: str,
        snapshot: Callable[[], dict[str, Any]],
        token: Callable[[], str] = str,
        tell: Callable[[str], dict[str, Any] | None] = lambda asked: None,
        tls: Path | None = None,
    ) -> None:
        self._master = master
        self._hello = {"instance": instance, "pid": os.getpid(), "version": __version__}
        self._snapshot = snapshot
        self._token = token
        self._tell = tell
        self._tls = tls
        # What has kept it from reporting since it last did.
        self._troubles: set[str] = set()
        self._stopping = threading.Event()
        self._backoff = Backoff(_FIRST_RETRY, _LAST_RETRY)

    def start(self) -> None:
        spawn("metrics", self._run)

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._may_be_there():
                self._report()
            self._stopping.wait(self._backoff.next())

    def _may_be_there(self) -> bool:
        """A look is much cheaper than an attempt, and a host may have no master for ever."""
        return not isinstance(self._master, Path) or os.access(self._master, os.F_OK)

    def _report(self) -> None:
        try:
            with self._connect() as connection:
                connection.sendall(encode_line(self._introduction()))
                self._answer(connection)
        except OSError as error:
            self._complain(error)  # no master, or none any more: the worker works on without

    def _complain(self, error: OSError) -> None:
        """On this host there need not be a master; one elsewhere is wanted. Each trouble once."""
        text = error.strerror or str(error)
        if isinstance(self._master, Path) or text in self._troubles:
            return
        self._troubles.add(text)
        where = format_address(*self._master)
        log.warning("can't report to %s: %s; trying again and again", where, text)

    def _introduction(self) -> dict[str, Any]:
        # Read anew: it may have been replaced.
        token = self._token()
        return {**self._hello, "token": token} if token else self._hello

    def _connect(self) -> socket.socket:
        if not isinstance(self._master, Path):
            if self._tls is None:
                return connect_tcp(self._master)
            # OpenSSL is large: only who needs it loads it.
            from pyboot_svc.sockets.tls import connect_tls

            return connect_tls(self._master, self._tls)
        connection = socket.socket(socket.AF_UNIX)
        try:
            # A model may have set another default, and the master's next question may be far off.
            connection.settimeout(None)
            connection.connect(str(self._master))
        except OSError:
            connection.close()
            raise
        return connection

    def _answer(self, connection: socket.socket) -> None:
        pending = b""
        while data := connection.recv(4096):
            *questions, pending = (pending + data).split(b"\n")
            for question in questions:
                if question + b"\n" == ASK:
                    connection.sendall(encode_line(self._snapshot()))
                    self._backoff.reset()
                    self._troubles.clear()
                elif told := self._tell(question.decode(errors="replace")):
                    connection.sendall(encode_line(told))
            if len(pending) > MAX_LINE:
                return
