"""A name server of the tests' own, and processes that ask no other."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

_HEADER = struct.Struct(">HHHHHH")
_TYPE_A = 1


def need_names() -> None:
    """A name server listens at port 53, and resolv.conf is another one for a worker."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace, which this container doesn't allow")


class NameServer:
    """Says that every name is 127.0.0.1, or that there is none, or nothing until told to.

    What is asked while it is silent is kept, and answered later.
    """

    def __init__(self, *, silent: bool = False, knows: bool = True) -> None:
        self._silent, self._knows = silent, knows
        self._kept: list[tuple[bytes, Any]] = []
        self._lock = threading.Lock()
        self._socket, self.address = _bound_socket()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())  # which ends the thread
        self._thread.join(10)
        self._socket.close()

    @property
    def asked(self) -> bool:
        return bool(self._kept)

    def speak(self) -> None:
        with self._lock:
            self._silent = False
            for query, who in self._kept:
                self._answer(query, who)

    def _run(self) -> None:
        while True:
            query, who = self._socket.recvfrom(4096)
            if not query:
                return
            with self._lock:
                if self._silent:
                    self._kept.append((query, who))
                else:
                    self._answer(query, who)

    def _answer(self, query: bytes, who: Any) -> None:
        number = _HEADER.unpack_from(query)[0]
        end = query.index(b"\0", _HEADER.size) + 5  # the name, its type and its class
        question = query[_HEADER.size : end]
        found = self._knows and question[-3] == _TYPE_A
        flags = 0x8180 if self._knows else 0x8183
        reply = _HEADER.pack(number, flags, 1, int(found), 0, 0) + question
        if found:
            reply += b"\xc0\x0c" + struct.pack(">HHIH", _TYPE_A, 1, 0, 4) + bytes((127, 0, 0, 1))
        self._socket.sendto(reply, who)


def _bound_socket() -> tuple[socket.socket, str]:
    """At an address that no other process of tests has taken."""
    chance = random.SystemRandom()  # the global one may be seeded, for each process alike
    while True:
        found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        address = f"127.{chance.randrange(1, 255)}.{chance.randrange(1, 255)}.53"
        try:
            found.bind((address, 53))
        except OSError as error:
            found.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return found, address


def asking(folder: Path, address: str) -> list[str]:
    """What stands in front of a command whose only name server is at `address`.

    It waits for an answer for minutes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    resolv, switch = folder / "resolv.conf", folder / "nsswitch.conf"
    resolv.write_text(f"nameserver {address}\noptions timeout:30 attempts:5\n")
    switch.write_text("hosts: files dns\n")
    script = (
        'mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/nsswitch.conf && '
        'shift && exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, str(resolv), str(switch)]
