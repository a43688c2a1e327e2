"""Each key belongs to one instance."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter

import pytest
from support.columns import batch_of

from pyboot_svc.model.codec import codec_named
from pyboot_svc.worker.mqtt.session.partition import Partition, owner_of

KEYS = [f"device-{number}" for number in range(1000)]


def partition(by: str, number: int, count: int = 3) -> Partition:
    return Partition(by, number, count, codec_named("json").decode)


def test_keys_are_spread_evenly() -> None:
    found = Counter(owner_of(key, 4) for key in KEYS)
    assert set(found) == {1, 2, 3, 4}
    assert min(found.values()) > 150


def test_of_one_more_instance_only_its_own_keys_move() -> None:
    for count in range(1, 8):
        moved = {
            (owner_of(key, count), owner_of(key, count + 1))
            for key in KEYS
            if owner_of(key, count) != owner_of(key, count + 1)
        }
        assert moved
        assert {to for _, to in moved} == {count + 1}


@pytest.mark.parametrize("by", ["device", "meta.id", "topic[1]"])
def test_every_message_is_one_instances(by: str) -> None:
    payloads = [
        json.dumps({"device": number % 7, "meta": {"id": f"x{number % 5}"}}).encode()
        for number in range(200)
    ]
    topics = [f"plant/{number % 11}/t" for number in range(200)]
    taken: list[bytes] = []
    for number in (1, 2, 3):
        batch = batch_of(payloads, topics)
        mine, others = partition(by, number).sift(batch)
        assert mine is not None
        assert sorted(mine.packet_ids + others) == list(range(1, 201))
        taken += mine.topics if by == "topic[1]" else mine.payloads  # type: ignore[arg-type]
    assert len(taken) == 200


def test_keys_however_long_are_not_all_held() -> None:
    mine = partition("device", 1, 2)
    tracemalloc.start()
    try:
        for number in range(50):
            payload = json.dumps({"device": f"{number}" + "x" * 100_000}).encode()
            mine.sift(batch_of([payload]))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1024**2


def test_a_number_is_the_text_that_it_is_written_as() -> None:
    found = [
        partition("device", owner_of("7", 3)).sift(batch_of([b'{"device": 7}', b'{"device": "7"}']))
    ]
    assert found[0][1] == []


@pytest.mark.parametrize("payload", [b"{", b"[]", b"{}", b'{"device": null}', b'{"device": true}'])
def test_what_has_no_key_is_the_first_ones(payload: bytes) -> None:
    mine, others = partition("device", 1).sift(batch_of([payload]))
    assert mine is not None
    assert others == []
    assert partition("device", 2).sift(batch_of([payload])) == (None, [1])
