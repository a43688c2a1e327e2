"""Who may read the web: a file of names and tokens, of each only a hash.

A line each: `NAME:HASH` for a user with a password, `:HASH` for a token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
import threading
from pathlib import Path

from pyboot_svc.credentials import read_credential
from pyboot_svc.errors import UsageError

# 16 MiB and some 50 ms a try (RFC 7914).
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1
_SALT_BYTES = 16
_TOKEN_BYTES = 32
_MOST_REMEMBERED = 64
_LONGEST = 1024
_DIGEST_BYTES = 32
_MOST_NAMED = 5
_MAKER = "`pyboot web password`"

# Name, salt and digest.
_Entry = tuple[str, bytes, bytes]

log = logging.getLogger(__name__)


class Busy(Exception):
    """Another attempt is just being looked at."""


def hash_secret(secret: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt${salt.hex()}${_scrypt(secret.encode(), salt).hex()}"


def new_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def with_entry(text: str, name: str, secret: str) -> str:
    """A file's text with this user's password, or one token more where `name` is empty."""
    if ":" in name or not (name.isprintable() and name.isascii()):
        raise UsageError("a user's name is of ASCII characters, without a colon")
    kept = [
        line for line in text.splitlines() if line and not (name and line.startswith(f"{name}:"))
    ]
    return "\n".join([*kept, f"{name}:{hash_secret(secret)}", ""])


def trouble_in(file: Path) -> str:
    """Why not all who are meant to can log in, for people; empty where nothing is wrong."""
    try:
        return _known_in(file)[1]
    except FileNotFoundError:
        return f"{file} isn't there: {_MAKER} makes it"
    except OSError:
        return ""  # it is for others to read


class Credentials:
    """Judges the header `Authorization` by a file, which is read again when it changes."""

    def __init__(self, file: Path) -> None:
        """Raises OSError when it can't be read."""
        self._file = file
        self._mark: tuple[int, int, int] | None = None
        self._entries: list[_Entry] = []
        self._trouble = ""
        # Of what was right before, so that it isn't as dear each time: by a key of this process.
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}
        # Guesses cost time and memory: of one at a time.
        self._looking = threading.Lock()
        self._read()

    def allow(self, header: str) -> bool:
        """Raises Busy when that can't be said just now, as while others are guessing."""
        try:
            self._read()
        except OSError as error:
            self._mark = None
            self._tell(f"{self._file} can't be read, and nobody can log in: {error.strerror}")
            return False
        given = _parse(header)
        if given is None:
            return False
        digest = hmac.digest(self._key, header.encode(errors="replace"), "sha256")
        if digest in self._right:
            return True
        if not self._looking.acquire(blocking=False):
            raise Busy
        try:
            if not self._matches(*given):
                return False
            while len(self._right) >= _MOST_REMEMBERED:
                del self._right[next(iter(self._right))]
            self._right[digest] = None
            return True
        finally:
            self._looking.release()

    def _matches(self, name: str, secret: bytes) -> bool:
        entries = [entry for entry in self._entries if entry[0] == name]
        # A name that there isn't takes as long.
        for _, salt, digest in entries or [("", b"", b"")]:
            if hmac.compare_digest(_scrypt(secret, salt), digest):
                return True
        return False

    def _read(self) -> None:
        status = os.stat(self._file)
        mark = (status.st_mtime_ns, status.st_ino, status.st_size)
        if mark != self._mark:
            self._entries, trouble = _known_in(self._file)
            self._right = {}
            self._mark = mark
            self._tell(trouble)

    def _tell(self, trouble: str) -> None:
        """In the log, once as long as it stays."""
        if trouble and trouble != self._trouble:
            log.error("web.auth: %s", trouble)
        self._trouble = trouble


def _known_in(file: Path) -> tuple[list[_Entry], str]:
    """Who may log in, and what is wrong with the file. Raises OSError."""
    # An editor may have put a byte order mark in front; what is no text is no entry either.
    lines = read_credential(str(file)).decode("utf-8-sig", "replace").splitlines()
    found = {number: entry for number, line in enumerate(lines, 1) if (entry := _entry(line))}
    unusable = [
        number
        for number, line in enumerate(lines, 1)
        if number not in found and line.strip() and not line.startswith("#")
    ]
    trouble = ""
    if not found:
        trouble = f"{file} has no entry of {_MAKER}: nobody can log in"
    elif unusable:
        numbers = ", ".join(map(str, unusable[:_MOST_NAMED]))
        more = ", …" if len(unusable) > _MOST_NAMED else ""
        trouble = f"{file} has lines that are no entries of {_MAKER}: {numbers}{more}"
    return list(found.values()), trouble


def _entry(line: str) -> _Entry | None:
    name, _, hashed = line.strip().partition(":")
    kind, _, rest = hashed.partition("$")
    salt, _, digest = rest.partition("$")
    try:
        entry = name, bytes.fromhex(salt), bytes.fromhex(digest)
    except ValueError:
        return None
    return entry if kind == "scrypt" and len(entry[2]) == _DIGEST_BYTES else None


def _parse(header: str) -> tuple[str, bytes] | None:
    """Name, empty for a token, and secret."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if len(value) > _LONGEST:
        return None
    if scheme.lower() == "bearer":
        return ("", value.encode(errors="replace")) if value else None
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(value, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (name.decode(errors="replace"), secret) if colon and name else None


def _scrypt(secret: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(secret, salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=_DIGEST_BYTES)
