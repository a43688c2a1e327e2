"""TLS: certificates that are read again when their files change, and sockets that don't block.

Loaded where there is some: OpenSSL is large.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pyboot_svc.address import Address
from pyboot_svc.errors import UnavailableError, in_words
from pyboot_svc.sockets.tcp import CONNECT_SECONDS, connect_tcp

_LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class TlsFailure(OSError):
    """The two ends don't agree on how to talk, or one doesn't trust the other."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of one end: its certificate, with its key; and the authority that vouches for the
    other end, None where that needs nobody to vouch for it."""

    cert: str | None
    key: str | None = None
    ca: str | None = None

    @classmethod
    def within(cls, folder: Path) -> TlsFiles:
        """Those that are there, named as in Kubernetes' secrets of the type `tls`."""
        found = [_if_there(folder / name) for name in ("tls.crt", "tls.key", "ca.crt")]
        return cls(*found)

    def __iter__(self) -> Iterator[str]:
        return (file for file in (self.cert, self.key, self.ca) if file is not None)


def _if_there(file: Path) -> str | None:
    return str(file) if file.exists() else None


class SecureChannel:
    """The accepting end of a connection, which never waits: the handshake is done with the first
    that is read."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def recv(self, size: int, /) -> bytes:
        try:
            return self._connection.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLError as error:
            raise TlsFailure(error.reason) from error

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

    @property
    def certified(self) -> frozenset[str] | None:
        """The names in the peer's certificate; none without one, None if nobody would vouch for it.

        Once something was read.
        """
        if self._connection.context.verify_mode == ssl.CERT_NONE:
            return None
        return frozenset(_names(self._connection.getpeercert() or {}))


def _names(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Of its subject, and of the hosts that it is for."""
    for kind, value in (
        *chain.from_iterable(certificate.get("subject", ())),
        *certificate.get("subjectAltName", ()),
    ):
        if kind in ("commonName", "DNS"):
            yield value


class Certificates:
    """Wraps accepted connections by the certificate as it is by now.

    `name` is what the configuration, or the command line, calls them. With a `ca` clients may show
    a certificate of its.
    """

    def __init__(self, files: TlsFiles, name: str) -> None:
        """Raises UnavailableError when they can't be used."""
        self._files = files
        self._name = name
        self._looked = time.monotonic()
        try:
            self._marks = self._look()
            self._context = self._load()
        except TlsFailure as error:
            raise UnavailableError(f"{name}: {error}") from error

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
                log.info("%s: read %s anew", self._name, self._files.cert)
        except TlsFailure as error:
            log.warning(
                "%s: the new certificate can't be used; the old one stays: %s", self._name, error
            )

    def _look(self) -> list[tuple[int, int]]:
        marks = []
        for file in self._files:
            with _used(file, "the master has to be able to read it"):
                status = os.stat(file)
            marks.append((status.st_mtime_ns, status.st_ino))
        return marks

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _show(context, self._files)
        if self._files.ca is not None:
            _trust(context, self._files.ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


def _show(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cert is not None:
        place = f"in {files.key}" if files.key is not None else "in the same file"
        with _used(files.cert, f"it has to be a PEM certificate, with its key {place}"):
            # Without a terminal nobody could be asked for a passphrase.
            context.load_cert_chain(files.cert, files.key, password=lambda: "")


def _trust(context: ssl.SSLContext, ca: str) -> None:
    with _used(ca, "it has to have PEM certificates"):
        context.load_verify_locations(ca)


@contextmanager
def _used(file: str, wanted: str) -> Iterator[None]:
    """Raises TlsFailure with what is wrong with it, and what was `wanted`."""
    try:
        yield
    except ssl.SSLError as error:
        # Its text names a line of Python's own source.
        why = (error.reason or "not PEM").lower().replace("_", " ")
        raise TlsFailure(f"{file} can't be used: {why}; {wanted}") from error
    except OSError as error:
        raise TlsFailure(f"{file} can't be read: {in_words(error)}; {wanted}") from error


def connect_tls(address: Address, folder: Path) -> ssl.SSLSocket:
    """Connect to who has a certificate for that host, of the authority in `folder` (`ca.crt`),
    showing ours, if there is one (`tls.crt`, `tls.key`): as they are by now.

    Raises OSError when there is nobody, TlsFailure with the reason when it isn't trusted, or the
    files can't be used.
    """
    files = TlsFiles.within(folder)
    if files.ca is None:
        raise TlsFailure(f"there is no {folder / 'ca.crt'} that says whom to trust")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, files.ca)
    _show(context, files)
    connection = connect_tcp(address)
    connection.settimeout(CONNECT_SECONDS)
    try:
        secured = context.wrap_socket(connection, server_hostname=address[0].removesuffix("."))
    except ssl.SSLError as error:
        raise TlsFailure(getattr(error, "verify_message", None) or error.reason) from error
    finally:
        connection.close()
    secured.settimeout(None)
    return secured
