"""What one message in a worker's hands occupies, by the sizes of Python's real objects."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sized

from benchmarks.peers.work import compute
from pyboot_svc.worker.message import Message, digest_all

_VALUES = 20
_STEP = 16  # the allocator's
_CONTAINERS = 3  # settlement and, one after another, one of the queues or a chunk; its results
_MANY = 1000


def message_bytes(payload: bytes) -> int:
    """With payload, result and digest, and its place in containers and among what is in flight.

    The topic is not counted: messages of one device have it in common.
    """
    message = Message("bench/in/00000", payload, 1, mid=60_000, session=1, arrived=1 << 50)
    message.result = compute(payload)
    digest_all([message])
    objects = (message, payload, message.result, message.digest, message.mid)
    in_flight = {300 + number: message for number in range(_MANY)}
    place = _each(deque([message] * _MANY)) * _CONTAINERS + _each(in_flight) + sys.getsizeof(60_000)
    return sum(map(_allocated, objects)) + place


def example_payload() -> bytes:
    """A payload as the trials have it: an id and 20 values."""
    values = ",".join(f"{20 + number * 7919 % 10_000 / 1000:.3f}" for number in range(_VALUES))
    return b'{"id":"00000000","values":[%s]}' % values.encode()


def _each(container: Sized) -> int:
    return sys.getsizeof(container) // len(container)


def _allocated(thing: object) -> int:
    return -(-sys.getsizeof(thing) // _STEP) * _STEP
