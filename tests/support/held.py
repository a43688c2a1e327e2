"""How many bytes an object holds, by whatever names."""

from __future__ import annotations

import gc
import sys
from types import FunctionType, ModuleType
from typing import Any


def held_bytes(held: object, *without: object) -> int:
    """Of `held` and all that it refers to, but not `without`, and no code."""
    seen = {id(one) for one in without}
    waiting: list[Any] = [held]
    size = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return size
