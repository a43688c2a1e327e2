from __future__ import annotations

import tracemalloc

import pytest

from pyboot_svc.worker.messages import MessageBatch, Particulars
from pyboot_svc.worker.mqtt.session.retained import MOST_RETAINED, NewRetained, NoRetained
from pyboot_svc.worker.mqtt.session.sieve import Sieve


def batch(*messages: tuple[str, bytes], retained: tuple[int, ...] = ()) -> MessageBatch:
    topics, payloads = [topic for topic, _ in messages], [payload for _, payload in messages]
    packet_ids = list(range(1, len(messages) + 1))
    columns = topics, payloads, packet_ids, [1] * len(packet_ids)
    return MessageBatch(*columns, 1, Particulars(retained=retained))


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


def test_one_stays_known_whatever_else_is_published_to_its_topic() -> None:
    replays = NewRetained()
    assert sift(replays, batch(("a", b"kept"), retained=(0,))) == ([b"kept"], [])
    for number in range(3):
        assert sift(replays, batch(("a", b"%d" % number))) == ([b"%d" % number], [])
        assert sift(replays, batch(("a", b"kept"), retained=(0,))) == ([], [1])


def test_one_that_was_published_while_connected_is_known_behind_others_of_its_topic() -> None:
    replays = NewRetained()
    sift(replays, batch(("a", b"kept"), ("a", b"1"), ("a", b"2")))
    assert sift(replays, batch(("a", b"kept"), retained=(0,))) == ([], [1])


def test_what_takes_the_place_of_a_retained_one_is_new() -> None:
    replays = NewRetained()
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])
    assert sift(replays, batch(("a", b"live"))) == ([b"live"], [])
    assert sift(replays, batch(("a", b"2"), retained=(0,))) == ([b"2"], [])
    # It has been in between: this one was published anew, while nobody was there.
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])


def test_of_qos_0_the_last_of_its_topic_is_known_and_no_other() -> None:
    """It may have been published again while nobody was there: no session keeps it."""
    replays = NewRetained()
    online = batch(("a", b"online"), retained=(0,))
    online.packet_ids[0] = 0
    assert sift(replays, online) == ([b"online"], [])
    assert sift(replays, online) == ([], [0])
    assert sift(replays, batch(("a", b"offline"))) == ([b"offline"], [])
    assert sift(replays, online) == ([b"online"], [])
    assert sift(replays, online) == ([], [0])
    assert sift(replays, batch(("a", b"online"))) == ([b"online"], [])
    assert sift(replays, online) == ([], [0])


def test_of_more_topics_than_fit_the_most_are_known_which_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replays = NewRetained()
    count = MOST_RETAINED + MOST_RETAINED // 40
    all_of_them = batch(*((f"t/{n}", b"1") for n in range(count)), retained=tuple(range(count)))
    assert len(sift(replays, all_of_them)[0]) == count
    for _ in range(2):
        again, known = sift(replays, all_of_them)
        assert 0 < len(again) < count // 8
        assert len(again) + len(known) == count
    assert caplog.text.count("retained messages of more than 50000 topics") == 1


def test_what_is_published_is_remembered_within_bounds() -> None:
    replays = NewRetained()
    tracemalloc.start()
    for first in range(0, 100_000, 1000):
        numbers = range(first, first + 1000)
        replays.sift(batch(*((f"t/{number}", b"%d" % number) for number in numbers)))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 8 * 1024**2
    assert sift(replays, batch(("t/99000", b"99000"), retained=(0,))) == ([], [1])


def test_in_a_new_session_all_is_news() -> None:
    replays = NewRetained()
    replays.sift(batch(("a", b"1")))
    replays.forget()
    assert sift(replays, batch(("a", b"1"), retained=(0,))) == ([b"1"], [])


def test_batches_of_one_read_are_put_together_with_their_places() -> None:
    found = batch(("a", b"1"), ("b", b"1"), retained=(1,))
    found.extend(batch(("c", b"1"), ("d", b"1"), retained=(0,)))
    assert list(found.particulars.retained) == [1, 2]


def test_all_of_them_can_be_passed_over() -> None:
    nothing = NoRetained()
    assert sift(nothing, batch(("a", b"1"), ("b", b"2"))) == ([b"1", b"2"], [])
    found = batch(("a", b"1"), ("b", b"2"), ("c", b"3"), retained=(0, 2))
    assert sift(nothing, found) == ([b"2"], [1, 3])
    assert sift(nothing, batch(("a", b"1"), retained=(0,))) == ([], [1])
    nothing.forget()
