"""Makes inputs of others: the same ones of the same seed, on every host."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

LONGEST = 16 * 1024
# Where programs are wrong by one.
_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    2**63,
    2**64 - 1,
)

Change = Callable[["Mutator", bytearray], None]


class Mutator:
    """Gives inputs made of `seeds` and `tokens`."""

    def __init__(self, seeds: Sequence[bytes], tokens: Sequence[bytes], seed: int | str) -> None:
        self._seeds = list(seeds) or [b""]
        self._tokens = list(tokens) or [b"\0"]
        self._chance = random.Random(seed)

    def inputs(self) -> Iterator[bytes]:
        """Without an end."""
        while True:
            data = bytearray(self._chance.choice(self._seeds))
            for _ in range(self._chance.choice((1, 1, 2, 3, 8))):
                self._chance.choice(_CHANGES)(self, data)
            yield bytes(data[:LONGEST])

    def keep(self, data: bytes) -> None:
        """Make further ones of this, too."""
        self._seeds.append(data)

    def _place(self, data: bytearray) -> int:
        return self._chance.randint(0, len(data))

    def _stretch(self, data: bytearray) -> slice:
        start = self._place(data)
        return slice(start, start + self._chance.choice((1, 1, 2, 4, 16, 256)))

    def flip(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def overwrite(self, data: bytearray) -> None:
        where = self._stretch(data)
        data[where] = self._chance.randbytes(len(data[where]))

    def zero(self, data: bytearray) -> None:
        where = self._stretch(data)
        data[where] = bytes(len(data[where]))

    def remove(self, data: bytearray) -> None:
        del data[self._stretch(data)]

    def cut(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def double(self, data: bytearray) -> None:
        where = self._stretch(data)
        data[where] = data[where] * self._chance.choice((2, 2, 3, 50))

    def insert(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = self._chance.choice(self._tokens)

    def number(self, data: bytearray) -> None:
        size = self._chance.choice((1, 2, 4, 8))
        at = self._place(data)
        value = self._chance.choice(_NUMBERS) % 2 ** (8 * size)
        data[at : at + size] = value.to_bytes(size, self._chance.choice(("big", "little")))

    def splice(self, data: bytearray) -> None:
        other = self._chance.choice(self._seeds)
        at = self._chance.randint(0, len(other))
        data[self._place(data) :] = other[at:]


_CHANGES: Sequence[Change] = (
    *(Mutator.flip, Mutator.overwrite, Mutator.zero, Mutator.remove, Mutator.cut),
    *(Mutator.double, Mutator.insert, Mutator.insert, Mutator.number, Mutator.splice),
)
