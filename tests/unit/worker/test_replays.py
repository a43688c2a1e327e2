from __future__ import annotations

from pyboot_svc.worker.message import Batch
from pyboot_svc.worker.replays import Replays


def batch(*messages: tuple[str, bytes], retained: tuple[int, ...] = ()) -> Batch:
    topics, payloads = [topic for topic, _ in messages], [payload for _, payload in messages]
    mids = list(range(1, len(messages) + 1))
    return Batch(topics, payloads, mids, [1] * len(mids), 1, retained=retained)


def sift(replays: Replays, found: Batch) -> tuple[list[bytes], list[int]]:
    new, known = replays.sift(found)
    return new.payloads if new is not None else [], known


def test_what_is_its_topics_latest_message_is_known() -> None:
    replays = Replays()
    assert sift(replays, batch(("a", b"1"), ("b", b"1"))) == ([b"1", b"1"], [])
    assert sift(replays, batch(("a", b"1"), ("b", b"2"), retained=(0, 1))) == ([b"2"], [1])
    assert sift(replays, batch(("b", b"2"), retained=(0,))) == ([], [1])


def test_the_same_again_that_is_not_retained_is_a_message_of_its_own() -> None:
    replays = Replays()
    for _ in range(3):
        assert sift(replays, batch(("a", b"1"))) == ([b"1"], [])


def test_the_first_is_no_replay_and_one_that_was_replaced_is_none() -> None:
    replays = Replays()
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])
    assert sift(replays, batch(("a", b"2"))) == ([b"2"], [])
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])


def test_in_a_new_session_all_is_news() -> None:
    replays = Replays()
    replays.sift(batch(("a", b"1")))
    replays.forget()
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])


def test_batches_of_one_read_are_put_together_with_their_places() -> None:
    found = batch(("a", b"1"), ("b", b"1"), retained=(1,))
    found.extend(batch(("c", b"1"), ("d", b"1"), retained=(0,)))
    assert list(found.retained) == [1, 2]
