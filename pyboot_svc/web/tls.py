"""HTTPS: a certificate that is read again when its files change, and sockets that don't block."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import time
from contextlib import suppress

from pyboot_svc.config.settings import WebTls
from pyboot_svc.errors import UnavailableError

_LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class SecureChannel:
    """What a gate reads and writes: the handshake is done with the first that comes."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def recv(self, size: int, /) -> bytes:
        try:
            return self._connection.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def send(self, data: memoryview, /) -> int:
        try:
            return self._connection.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def shutdown(self, how: int, /) -> None:
        with suppress(OSError):  # the peer may be slow to say goodbye; it has all it needs
            self._connection.unwrap()
        self._connection.shutdown(how)

    def close(self) -> None:
        self._connection.close()


class Certificates:
    """Wraps connections by the certificate as it is by now."""

    def __init__(self, files: WebTls) -> None:
        """Raises UnavailableError when it can't be used."""
        self._files = files
        self._looked = time.monotonic()
        try:
            self._marks = self._look()
            self._context = self._load()
        except OSError as error:
            raise UnavailableError(
                f"web.tls: {files.cert} can't be used: {error.strerror or error}; "
                "it has to be a PEM certificate, with its key, that the master may read"
            ) from error

    def wrap(self, connection: socket.socket) -> SecureChannel:
        self._refresh()
        secured = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return SecureChannel(secured)

    def _refresh(self) -> None:
        """A new certificate that can't be used, or that is half written, replaces none."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        try:
            marks = self._look()
            if marks != self._marks:
                self._marks = marks
                self._context = self._load()
                log.info("web.tls: read %s anew", self._files.cert)
        except OSError as error:
            log.warning("web.tls: the new certificate can't be used; the old one stays: %s", error)

    def _look(self) -> list[tuple[int, int]]:
        named = [file for file in (self._files.cert, self._files.key) if file is not None]
        return [(status.st_mtime_ns, status.st_ino) for status in map(os.stat, named)]

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Without a terminal nobody could be asked for a passphrase.
        context.load_cert_chain(self._files.cert, self._files.key, password=lambda: "")
        return context
