"""Messages in columns: parts, merges, digests, and what is counted."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.columns import batch_of, chunk_of, messages_of, result_batch_of

from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.worker.invalid_messages import InvalidMessage
from pyboot_svc.worker.messages import (
    DIGEST_BYTES,
    Addressed,
    Chunk,
    Destination,
    Message,
    MessageBatch,
    Nowhere,
    Origin,
    Particulars,
    ResultBatch,
    ids_of,
    pick,
)

TOPICS = st.sampled_from(["a", "b", "plant/7", "温"])


ORIGIN = Nowhere()


def columns(
    batch: MessageBatch,
) -> tuple[list[str], list[bytes], list[int], list[int], Origin]:
    return batch.topics, batch.payloads, batch.packet_ids, batch.arrived, batch.origin


@pytest.fixture
def batch() -> MessageBatch:
    """Five messages of which every column differs."""
    batch = MessageBatch(
        ["a", "b", "c", "d", "e"],
        [b"0", b"1", b"2", b"3", b"4"],
        [7, 0, 8, 0, 9],
        [100, 101, 102, 103, 104],
        3,
    )
    batch.origin = ORIGIN
    return batch


def test_a_part_has_all_columns_of_the_same_messages(batch: MessageBatch) -> None:
    part = batch.part(1, 4)
    assert columns(part) == (
        ["b", "c", "d"],
        [b"1", b"2", b"3"],
        [0, 8, 0],
        [101, 102, 103],
        ORIGIN,
    )
    assert (part.session, part.redeliverable, len(part), part.size) == (3, True, 3, 6)


def test_a_part_is_not_changed_with_the_whole(batch: MessageBatch) -> None:
    part, rest = batch.part(0, 2), batch.part(2, 5)
    part.extend(rest)
    assert columns(part) == columns(batch)
    assert (len(batch), len(rest)) == (5, 3)


@given(count=st.integers(2, 10), data=st.data())
def test_parts_put_together_are_the_whole(count: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1))))
    payloads = [b"%d" % number for number in range(count)]
    topics = [f"in/{number}" for number in range(count)]
    whole = batch_of(payloads, topics, session=4, origin=ORIGIN)
    first, *others = (
        whole.part(start, stop) for start, stop in zip([0, *cuts], [*cuts, count], strict=True)
    )
    for part in others:
        first.extend(part)
    assert columns(first) == columns(whole)
    assert first.session == 4


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("other", [True, False])
def test_of_what_recurs_with_others_all_recur(one: bool, other: bool) -> None:
    batch = batch_of([b"1"], redeliverable=one)
    batch.extend(batch_of([b"2"], redeliverable=other))
    assert batch.redeliverable == (one or other)


def test_its_bytes_are_those_of_topics_and_payloads(batch: MessageBatch) -> None:
    assert batch.size == 10
    assert batch.only([0, 3]).size == 4
    long = batch_of([b"", b"12"], ["plant/temperature", "p"])
    assert long.size == 20
    long.extend(batch)
    assert long.size == 30
    assert result_batch_of([b"", b"12", b"345"]).size == 5
    elsewhere = Addressed.to(Destination("a/b", 1, False, b"1234"), b"12")
    chunk = chunk_of([b"", b""])
    chunk.unusual = True
    addressed = ResultBatch(chunk, range(2), [b"345", elsewhere])
    assert addressed.size == 3 + 2 + 3 + 4
    assert [addressed.part(0, 1).size, addressed.part(1, 2).size] == [3, 9]
    assert result_batch_of([b"", b"12", b"345"]).part(1, 3).size == 5
    assert result_batch_of([b"", b"12", b"345"]).part(0, 2).size == 2


def test_a_single_message_of_a_batch(batch: MessageBatch) -> None:
    assert batch.message(3) == Message("d", b"3")
    assert [message.topic for message in messages_of(batch)] == batch.topics


def test_an_id_names_topic_and_payload() -> None:
    ids = {Message(topic, payload).id for topic in ("a", "ab") for payload in (b"", b"b", b"bb")}
    assert len(ids) == 6
    message = Message("plant/温", b"\x00\xff")
    expected = hashlib.blake2b(
        "plant/温".encode() + b"\0" + b"\x00\xff", digest_size=DIGEST_BYTES
    ).digest()
    assert (message.digest, message.id) == (expected, expected.hex())


@given(st.lists(st.tuples(TOPICS, st.binary(max_size=8)), min_size=1, max_size=20))
def test_digests_are_those_of_single_messages_whatever_the_runs_of_topics(
    arrived: list[tuple[str, bytes]],
) -> None:
    topics, payloads = [topic for topic, _ in arrived], [payload for _, payload in arrived]
    chunk = chunk_of(payloads, topics=topics)
    expected = [message.digest for message in messages_of(chunk.batch)]
    assert chunk.digests == expected
    # Equal topics that are not the same object.
    copies = ["".join(list(topic)) for topic in topics]
    assert chunk_of(payloads, topics=copies).digests == expected


def test_digests_are_made_once() -> None:
    chunk = chunk_of([b"1", b"2"])
    assert chunk.digests is chunk.digests


def test_what_the_model_was_not_called_for_yet() -> None:
    chunk = chunk_of([b"1", b"2", b"3"])
    waiting = [chunk.waiting]
    for _ in range(3):
        chunk.results.append(None)
        waiting.append(chunk.waiting)
    assert waiting == [2, 1, 0, 0]
    other = chunk_of([b"1", b"2", b"3"])
    other.as_one_call = True
    assert other.waiting == 0


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (range(4), ["a", "b", "c", "d"]),
        (range(1, 3), ["b", "c"]),
        (range(2, 2), []),
        (range(3, 4), ["d"]),
        ([0, 3], ["a", "d"]),
        ([2], ["c"]),
        ([], []),
        ([0, 1, 2, 3], ["a", "b", "c", "d"]),
    ],
)
def test_items_are_picked_by_their_places(places: range | list[int], expected: list[str]) -> None:
    assert pick(["a", "b", "c", "d"], places) == expected


def result_batch_with_gaps() -> ResultBatch:
    """Of five messages, of which the second and the fourth have nothing to publish."""
    chunk = Chunk(0, MessageBatch(["in"] * 5, [b"0", b"1", b"2", b"3", b"4"], [1] * 5, [*range(5)]))
    return ResultBatch(chunk, [0, 2, 4], [b"r0", b"r2", b"r4"])


def test_a_parcel_knows_which_messages_its_results_are_for() -> None:
    results = result_batch_with_gaps()
    assert len(results) == 3
    assert results.arrivals() == [0, 2, 4]
    assert results.ids() == [Message("in", payload).id.encode() for payload in (b"0", b"2", b"4")]


@pytest.mark.parametrize("places", [range(1, 4), [1, 2, 3]])
def test_a_parcel_of_part_of_a_chunk(places: range | list[int]) -> None:
    chunk = result_batch_with_gaps().chunk
    results = ResultBatch(chunk, places, [b"x", b"y", b"z"])
    assert results.arrivals() == [1, 2, 3]
    part = results.part(1, 3)
    assert (list(part.places), part.payloads) == ([2, 3], [b"y", b"z"])
    assert part.arrivals() == [2, 3]
    assert part.ids() == ids_of(chunk.digests[2:4])
    assert part.part(1, 2).arrivals() == [3]


def test_part_of_a_parcel_with_gaps() -> None:
    part = result_batch_with_gaps().part(1, 2)
    assert (part.places, part.payloads, part.arrivals()) == ([2], [b"r2"], [2])


def test_all_of_a_parcel_is_itself() -> None:
    results = result_batch_of([b"1", b"2", b"3"])
    assert results.part(0, 3) is results
    assert results.part(0, 10) is results
    assert results.part(0, 2) is not results


@pytest.mark.parametrize("redeliverable", [True, False])
def test_a_parcel_recurs_as_its_messages_do(redeliverable: bool) -> None:
    results = result_batch_of([b"1", b"2"], redeliverable=redeliverable)
    assert results.redeliverable == results.part(1, 2).redeliverable == redeliverable


def with_misfits(count: int, *places: int) -> MessageBatch:
    invalid = {place: InvalidMessage(PayloadFault.BAD_TOPIC, str(place)) for place in places}
    names = [f"{place}" for place in range(count)]
    payloads = [name.encode() for name in names]
    return MessageBatch(names, payloads, [*range(count)], [0] * count, 0, Particulars(invalid))


def wrong(batch: MessageBatch) -> set[str]:
    """The topics of its invalid, each of which says where it was first."""
    invalid = batch.particulars.invalid
    assert [reason.text for reason in invalid.values()] == [batch.topics[at] for at in invalid]
    return {batch.topics[at] for at in invalid}


def test_what_was_retained_is_known_among_some() -> None:
    columns = ["a"] * 4, [b"1", b"2", b"3", b"4"], [0] * 4, [0] * 4
    batch = MessageBatch(*columns, 0, Particulars(retained=[1, 3]))
    assert list(batch.only([0, 3]).particulars.retained) == [1]
    assert list(batch.only([0, 2]).particulars.retained) == []
    assert list(batch.part(2, 4).particulars.retained) == [1]


def test_what_may_come_again_is_what_has_a_number_or_was_retained(batch: MessageBatch) -> None:
    assert [batch.part(place, place + 1).redeliverable for place in range(5)] == [
        *(True, False, True, False, True)
    ]
    columns = ["a"] * 3, [b"1", b"2", b"3"], [0] * 3, [0] * 3
    kept = MessageBatch(*columns, 0, Particulars(retained=[1]))
    assert (kept.redeliverable, kept.part(1, 2).redeliverable) == (True, True)
    assert not kept.only([0, 2]).redeliverable
    assert not MessageBatch(["a"] * 2, [b"1", b"2"], [-1, 0], [0] * 2).redeliverable


def test_misfits_go_with_their_messages() -> None:
    batch = with_misfits(10, 0, 3, 9)
    assert wrong(batch.part(0, 10)) == {"0", "3", "9"}
    assert wrong(batch.part(3, 9)) == {"3"}
    assert wrong(batch.part(4, 9)) == set()
    assert wrong(batch.only([1, 3, 4, 9])) == {"3", "9"}
    assert wrong(batch.only(range(2))) == {"0"}


@pytest.mark.parametrize("first", [(), (0, 4)])
@pytest.mark.parametrize("second", [(), (0, 2)])
def test_misfits_of_two_batches(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    batch, other = with_misfits(5, *first), with_misfits(3, *second)
    batch.extend(other)
    assert sorted(batch.particulars.invalid) == [*first, *(5 + place for place in second)]
