from __future__ import annotations

from pyboot_svc.worker.messages import MessageBatch
from pyboot_svc.worker.mqtt.session.retained import NewRetained, NoRetained
from pyboot_svc.worker.mqtt.session.sieve import Sieve


def batch(*messages: tuple[str, bytes], retained: tuple[int, ...] = ()) -> MessageBatch:
    topics, payloads = [topic for topic, _ in messages], [payload for _, payload in messages]
    packet_ids = list(range(1, len(messages) + 1))
    return MessageBatch(topics, payloads, packet_ids, [1] * len(packet_ids), 1, retained=retained)


def sift(replays: Sieve, found: MessageBatch) -> tuple[list[bytes], list[int]]:
    new, known = replays.sift(found)
    return new.payloads if new is not None else [], known


def test_what_is_its_topics_latest_message_is_known() -> None:
    replays = NewRetained()
    assert sift(replays, batch(("a", b"1"), ("b", b"1"))) == ([b"1", b"1"], [])
    assert sift(replays, batch(("a", b"1"), ("b", b"2"), retained=(0, 1))) == ([b"2"], [1])
    assert sift(replays, batch(("b", b"2"), retained=(0,))) == ([], [1])


def test_the_same_again_that_is_not_retained_is_a_message_of_its_own() -> None:
    replays = NewRetained()
    for _ in range(3):
        assert sift(replays, batch(("a", b"1"))) == ([b"1"], [])


def test_the_first_is_no_replay_and_one_that_was_replaced_is_none() -> None:
    replays = NewRetained()
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])
    assert sift(replays, batch(("a", b"2"))) == ([b"2"], [])
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])


def test_in_a_new_session_all_is_news() -> None:
    replays = NewRetained()
    replays.sift(batch(("a", b"1")))
    replays.forget()
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])


def test_batches_of_one_read_are_put_together_with_their_places() -> None:
    found = batch(("a", b"1"), ("b", b"1"), retained=(1,))
    found.extend(batch(("c", b"1"), ("d", b"1"), retained=(0,)))
    assert list(found.retained) == [1, 2]


def test_all_of_them_can_be_passed_over() -> None:
    nothing = NoRetained()
    assert sift(nothing, batch(("a", b"1"), ("b", b"2"))) == ([b"1", b"2"], [])
    found = batch(("a", b"1"), ("b", b"2"), ("c", b"3"), retained=(0, 2))
    assert sift(nothing, found) == ([b"2"], [1, 3])
    assert sift(nothing, batch(("a", b"1"), retained=(0,))) == ([], [1])
    nothing.forget()
