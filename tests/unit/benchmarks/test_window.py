"""How much a message in a worker's hands occupies."""

from __future__ import annotations

from benchmarks.window import example_payload, message_bytes


def test_a_message_occupies_its_payload_and_its_result_at_least() -> None:
    payload = example_payload()
    assert message_bytes(payload) > 2 * len(payload)


def test_a_longer_payload_costs_what_it_is_longer_by() -> None:
    short, long = (b'{"id":"%s","values":[1,2,3]}' % (b"0" * size) for size in (8, 1608))
    assert message_bytes(long) - message_bytes(short) >= 1600
