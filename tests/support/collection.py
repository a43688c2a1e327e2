"""Python's garbage collection, held while a test counts what a piece of code takes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """What one would call isn't counted: finalizers of others, and Hypothesis' callback."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
