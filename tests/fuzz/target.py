"""What is tried: a function of bytes that raises when what it tries doesn't keep its promise."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

CORPUS = Path(__file__).parent / "corpus"
# Far more than any input takes, on a busy host too: what is slower doesn't end.
LONGEST_SECONDS = 20


class TookTooLong(BaseException):
    """No Exception, so that nobody passes over it."""


@dataclass(frozen=True)
class Target:
    """`run` gets an input; `good` are inputs to begin with, `tokens` what means something in them.

    `bounded` is how many inputs CI tries.
    """

    name: str
    run: Callable[[bytes], None]
    good: Sequence[bytes]
    tokens: Sequence[bytes] = ()
    bounded: int = 1000

    @property
    def folder(self) -> Path:
        return CORPUS / self.name

    def corpus(self) -> list[Path]:
        return sorted(file for file in self.folder.glob("*") if file.is_file())

    def seeds(self) -> list[bytes]:
        return [*self.good, *(file.read_bytes() for file in self.corpus())]

    def attempt(self, data: bytes) -> None:
        """Raises what `run` raises, and TookTooLong; for a main thread."""
        with _time_limit(LONGEST_SECONDS):
            self.run(data)


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Cursor:
    """Takes an input apart: small numbers for choices first, the rest as it stands."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def number(self, size: int = 1) -> int:
        """Of so many bytes; those behind the end are 0."""
        return int.from_bytes(self.take(size).ljust(size, b"\0"))

    def choice(self, values: Sequence[T]) -> T:
        return values[self.number() % len(values)]

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def rest(self) -> bytes:
        return self.take(len(self._data))
