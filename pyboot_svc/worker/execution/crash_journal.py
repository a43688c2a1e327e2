"""What each model thread is working on, in a file that survives the process.

A memory-mapped file: noting a message is a copy within memory, without a system call, and the
kernel keeps it whatever ends the process. One slot a thread: how many messages it has in hand
and which of them is being computed, then their digests (a later delivery of the same message
has another packet number, but the same digest).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from pyboot_svc.worker.messages import DIGEST_BYTES

log = logging.getLogger(__name__)

_MAGIC = b"pyboot-ledger-2\n"
_WORD = 4
_HEADER_WORDS = 4
_HEADER_BYTES = _HEADER_WORDS * _WORD
# Of `at`: a call has all of them in hand.
_ALL = 0xFFFF_FFFF


class CrashJournal:
    """Slots for `threads` model threads in `file`, each for as many messages as `chunk`.

    A thread touches its own slot only.
    """

    def __init__(self, file: Path, threads: int, chunk: int) -> None:
        self._slot_bytes = _HEADER_BYTES + chunk * DIGEST_BYTES
        # The first slot's place is the file's head: what it is, and how long a slot.
        size = _HEADER_BYTES * 2 + threads * self._slot_bytes
        self._starts = [2 * _HEADER_BYTES + thread * self._slot_bytes for thread in range(threads)]
        self._left: list[str] = []
        # Threads that an error has ended: nobody has what they had in hand.
        self._dead: set[int] = set()
        self._closed = False
        self._descriptor: int | None = None
        try:
            self._map = self._open(file, size)
        except OSError as error:
            log.critical(
                "%s can't be kept: %s; a message that kills the process won't be recognised",
                file,
                error.strerror,
            )
            self._map = mmap.mmap(-1, size)
        # Words, since each is written at once.
        self._words = memoryview(self._map).cast("I")
        self._map[: len(_MAGIC)] = _MAGIC
        self._words[_HEADER_WORDS] = self._slot_bytes

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
        """The ids of messages in hand when the process before this one ended."""
        return list(self._left)

    def begin(self, thread: int, digests: Sequence[bytes], as_one_call: bool = False) -> None:
        """The thread takes these in hand: the first, or all of them `as_one_call`."""
        if self._closed:
            return
        start = self._starts[thread]
        words, word = self._words, start // _WORD
        words[word] = 0
        body = start + _HEADER_BYTES
        self._map[body : body + len(digests) * DIGEST_BYTES] = b"".join(digests)
        words[word + 1] = _ALL if as_one_call else 0
        # The number last: a slot is never seen half written as if it were whole.
        words[word] = len(digests)

    def cursor(self, thread: int) -> tuple[memoryview, int]:
        """Where to note which of its messages the thread computes: `words[at] = number`."""
        return self._words, self._starts[thread] // _WORD + 1

    def end(self, thread: int) -> None:
        """The thread has nothing in hand."""
        self._words[self._starts[thread] // _WORD] = 0

    def die(self, thread: int) -> None:
        """The thread has come to its end by an error, for which what it has in hand may be to
        blame: it stays, whatever becomes of the process."""
        self._dead.add(thread)

    def close(self) -> None:
        """The process ends in order: what is still in hand is no suspect."""
        self._closed = True
        for thread in range(len(self._starts)):
            if thread not in self._dead:
                self.end(thread)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _claim(descriptor: int) -> None:
    """For this process, until it ends: to cut a file that another one has mapped would kill it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = "another process of this instance holds it; is it running twice?"
        raise OSError(errno.EBUSY, text) from None


def _read_slots(descriptor: int) -> list[str]:
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    content = content[: len(content) // _WORD * _WORD]
    if not content.startswith(_MAGIC) or len(content) < 2 * _HEADER_BYTES:
        return []
    words = memoryview(content).cast("I")
    slot_bytes = words[_HEADER_WORDS]
    if slot_bytes < _HEADER_BYTES or slot_bytes % _WORD:
        return []
    found = []
    for start in range(2 * _HEADER_BYTES, len(content) - slot_bytes + 1, slot_bytes):
        count, at = words[start // _WORD], words[start // _WORD + 1]
        body = content[start + _HEADER_BYTES : start + slot_bytes]
        digests = [
            body[place : place + DIGEST_BYTES].hex()
            for place in range(0, min(count * DIGEST_BYTES, len(body)), DIGEST_BYTES)
        ]
        found += digests if at == _ALL else digests[at : at + 1]
    return found
