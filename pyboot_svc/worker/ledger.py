"""What each model thread is working on, in a file that survives the process.

A memory-mapped file: noting a message is a copy within memory, without a system call, and the
kernel keeps it whatever ends the process. One slot a thread: a flag, then what identifies the
message by its content (a later delivery has another packet number).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import mmap
import os
import struct
from pathlib import Path

log = logging.getLogger(__name__)

# Enough of a payload to tell messages apart, without copying large ones.
_SAMPLE_BYTES = 192
_HEADER = struct.Struct("<BxxxIII")
_SIZES = struct.Struct("<III")
_SLOT_BYTES = 512
_TOPIC_BYTES = _SLOT_BYTES - _HEADER.size - _SAMPLE_BYTES
_MAGIC = b"pyboot-ledger-1\n"


def content_id(topic: bytes, payload: bytes) -> str:
    """Names a message by what the ledger keeps of it: the same each time it is delivered."""
    return _name(topic[:_TOPIC_BYTES], len(payload), _sample(payload))


def _name(topic: bytes, payload_size: int, sample: bytes) -> str:
    digest = hashlib.blake2b(topic, digest_size=16)
    digest.update(payload_size.to_bytes(8, "little"))
    digest.update(sample)
    return digest.hexdigest()


def _sample(payload: bytes) -> bytes:
    """The beginning and the end of a payload."""
    if len(payload) <= _SAMPLE_BYTES:
        return payload
    return payload[: _SAMPLE_BYTES // 2] + payload[-_SAMPLE_BYTES // 2 :]


class Ledger:
    """Slots for `threads` model threads in `file`; a thread touches its own slot only."""

    def __init__(self, file: Path, threads: int) -> None:
        size = len(_MAGIC) + threads * _SLOT_BYTES
        self._left: list[str] = []
        self._threads = threads
        self._closed = False
        self._descriptor: int | None = None
        try:
            self._map = self._open(file, size)
        except OSError as error:
            log.critical(
                "%s can't be kept: %s; a message that kills the process can't be recognised",
                file,
                error.strerror,
            )
            self._map = mmap.mmap(-1, size)
        self._map[: len(_MAGIC)] = _MAGIC

    def _open(self, file: Path, size: int) -> mmap.mmap:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _claim(descriptor)
            self._left = _read_slots(descriptor)
            os.ftruncate(descriptor, 0)
            # Blocks of its own: writing into a hole would be fatal on a disk that is full.
            os.posix_fallocate(descriptor, 0, size)
            mapped = mmap.mmap(descriptor, size)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return mapped

    @property
    def left_in_hand(self) -> list[str]:
        """The `content_id`s of messages in hand when the process before this one ended."""
        return list(self._left)

    def begin(self, thread: int, topic: bytes, payload: bytes) -> None:
        """The thread takes this message in hand."""
        if self._closed:
            return
        start = len(_MAGIC) + thread * _SLOT_BYTES
        sample = _sample(payload)
        name = topic[:_TOPIC_BYTES]
        body = start + _HEADER.size
        self._map[body : body + len(name) + len(sample)] = name + sample
        # The flag last: a slot is never seen half written as if it were whole.
        sizes = start + _HEADER.size - _SIZES.size
        _SIZES.pack_into(self._map, sizes, len(name), len(payload), len(sample))
        self._map[start] = 1

    def end(self, thread: int) -> None:
        """The thread has nothing in hand."""
        self._map[len(_MAGIC) + thread * _SLOT_BYTES] = 0

    def close(self) -> None:
        """The process ends as it should: what is still in hand is no suspect."""
        self._closed = True
        for thread in range(self._threads):
            self.end(thread)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _claim(descriptor: int) -> None:
    """For this process, until it ends: to cut a file that another one has mapped would kill it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = "another process of this instance has it, does it run twice?"
        raise OSError(errno.EBUSY, text) from None


def _read_slots(descriptor: int) -> list[str]:
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    if not content.startswith(_MAGIC):
        return []
    found = []
    for start in range(len(_MAGIC), len(content) - _SLOT_BYTES + 1, _SLOT_BYTES):
        busy, topic_size, payload_size, sample_size = _HEADER.unpack_from(content, start)
        body = content[start + _HEADER.size : start + _SLOT_BYTES]
        if busy == 1 and topic_size + sample_size <= len(body):
            topic, sample = body[:topic_size], body[topic_size : topic_size + sample_size]
            found.append(_name(topic, payload_size, sample))
    return found
