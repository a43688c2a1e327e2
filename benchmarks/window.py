"""What one message in a worker's hands occupies, by the sizes of Python's real objects."""

from __future__ import annotations

import sys
from collections.abc import Sized

from benchmarks.peers.work import compute
from pyboot_svc.worker.messages import Chunk, MessageBatch

_VALUES = 20
_STEP = 16  # the allocator's
_COLUMNS = 6  # topic, payload, number, time of arrival, digest, result
_MANY = 1000


def message_bytes(payload: bytes) -> int:
    """With payload, result and digest, and its places in the columns.

    The topic is not counted: messages of one device have it in common.
    """
    chunk = Chunk(0, MessageBatch(["bench/in/00000"], [payload], [60_000], [1 << 50]))
    result, digest, mid = compute(payload), chunk.digests[0], chunk.batch.packet_ids[0]
    columns = _each([None] * _MANY) * _COLUMNS
    return sum(map(_allocated, (payload, result, digest, mid))) + columns


def example_payload() -> bytes:
    """A payload as the trials have it: an id and 20 values."""
    values = ",".join(f"{20 + number * 7919 % 10_000 / 1000:.3f}" for number in range(_VALUES))
    return b'{"id":"00000000","values":[%s]}' % values.encode()


def _each(container: Sized) -> int:
    return sys.getsizeof(container) // len(container)


def _allocated(thing: object) -> int:
    return -(-sys.getsizeof(thing) // _STEP) * _STEP
