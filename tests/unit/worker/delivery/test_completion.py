"""A message of which several results come: it is settled when all of them are safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.columns import Acknowledged, chunk_of, roomy_budget
from support.store import configured, held_up, rows, running, settled

from pyboot_svc.model.state import CallState, ModelState
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.messages import (
    TICK,
    Addressed,
    Chunk,
    Destination,
    Result,
    ResultBatch,
    ids_of,
)
from pyboot_svc.worker.stats import Stats
from pyboot_svc.worker.storage.durable_queue import DEAD_LETTERS, DurableQueue
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter
from pyboot_svc.worker.tracer import Tracer

ELSEWHERE = Destination("elsewhere", 1)


class Line:
    """From the model's results to acknowledgements."""

    def __init__(self, store: DatabaseWriter, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.chunks = 0
        self.budget = budget = roomy_budget()
        state = ModelState({})
        self.state = CallState(state)
        saver = StateSaver(state, store)
        self.origin = Acknowledged()
        self.settlement = Settlement(budget, saver)
        self.results = PostQueue(100, budget)
        self.stats, self.tracer = Stats(), Tracer("out")
        lane = DurableQueue(store, folder / DATABASE_NAME, DEAD_LETTERS)
        letters = DeadLetters(configured(), store, lane, lambda: None)
        self.completion = Completion(
            self.results, letters, saver, self.settlement, self.stats, self.tracer
        )

    def lone(self, result: bytes, packet_id: int = 1) -> Chunk:
        """A model has made this of a message that came alone."""
        chunk = chunk_of([b"0"], self.chunks, packet_ids=[packet_id], origin=self.origin)
        self.chunks += 1
        self.budget.arrived += chunk.batch.size
        self.settlement.admit(chunk.batch)
        chunk.results.append(result)
        return chunk

    def hand_on(self, *results: Result) -> list[ResultBatch]:
        """What a model has made of as many messages; gives what is to be published."""
        payloads = [b"%d" % number for number in range(len(results))]
        chunk = chunk_of(payloads, self.chunks, origin=self.origin)
        self.chunks += 1
        self.budget.arrived += chunk.batch.size
        self.settlement.admit(chunk.batch)
        chunk.unusual = True
        chunk.results.extend(results)
        self.completion.hand_on(chunk, last=True)
        return self.results.take(100)

    @property
    def acknowledged(self) -> list[int]:
        settled(self.store)
        return self.origin.packet_ids

    @property
    def kept(self) -> list[str]:
        """The keys of the state that are on disk."""
        return [key for (key,) in rows(self.folder, "SELECT key FROM state ORDER BY key")]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with running(tmp_path / DATABASE_NAME) as store:
        yield Line(store, tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        lambda chunk: chunk.results.append(b"another"),
        lambda chunk: chunk.results.clear(),
        lambda chunk: chunk.results.__setitem__(0, None),
        lambda chunk: chunk.results.__setitem__(0, b""),
        lambda chunk: setattr(chunk, "unusual", True),
        lambda chunk: setattr(chunk, "handed_on", 1),
        lambda chunk: setattr(chunk.batch, "particulars", TICK),
    ],
)
def test_a_chunk_is_plain_with_one_result_and_nothing_else(
    other: Callable[[Chunk], None], line: Line
) -> None:
    chunk = line.lone(b"a")
    assert line.completion.is_plain(chunk)
    other(chunk)
    assert not line.completion.is_plain(chunk)


def test_while_somebody_looks_no_chunk_is_plain(line: Line) -> None:
    line.tracer.on = True
    assert not line.completion.is_plain(line.lone(b"a"))


def test_a_chunk_that_has_changed_the_state_is_not_plain(line: Line) -> None:
    line.state["count"] = 1
    line.state.commit()
    assert not line.completion.is_plain(line.lone(b"a"))


def test_a_message_whose_change_another_thread_handed_on_waits_until_it_is_saved(
    line: Line,
) -> None:
    """The other one, which is faster, takes all changes that there are."""
    slow, fast = line.lone(b"a"), line.lone(b"b")
    line.state["slow"] = 1
    line.state.commit()
    line.completion.hand_on(fast, last=True)
    assert not line.completion.is_plain(slow)
    line.completion.hand_on(slow, last=True)
    first, second = line.results.take(100)
    line.completion.published([first])
    assert (line.acknowledged, line.kept) == ([], [])
    line.completion.published([second])
    assert (line.acknowledged, line.kept) == ([1, 1], ["slow"])


def test_also_when_the_other_one_is_of_qos_0(line: Line) -> None:
    slow, fast = line.lone(b"a"), line.lone(b"b", packet_id=0)
    line.state["slow"] = 1
    line.state.commit()
    line.completion.hand_on(fast, last=True)
    line.completion.hand_on(slow, last=True)
    with held_up(line.store):
        line.completion.published(line.results.take(100))
        assert line.origin.packet_ids == []
    assert (line.acknowledged, line.kept) == ([1], ["slow"])


def test_what_is_published_at_once_is_at_its_end(line: Line) -> None:
    line.completion.published_at_once(line.lone(b"a"))
    assert line.acknowledged == [1]
    counters = line.stats.figures().counters
    assert (counters.processed, counters.published) == (1, 1)
    assert (line.results.depth(), line.budget.size) == (0, 0)
    [behind] = line.hand_on(b"b")
    assert behind.payloads == [b"b"]


def test_what_is_on_its_way_is_at_its_end_when_it_is_published(line: Line) -> None:
    """And what comes behind it doesn't wait for that."""
    chunk = line.lone(b"abc")
    results = ResultBatch(chunk, range(1), [b"abc"])
    line.completion.on_its_way(results)
    assert line.results.take(100) == []
    assert (line.acknowledged, line.budget.made) == ([], 3)
    [behind] = line.hand_on(b"b")
    line.completion.published([results, behind])
    assert line.acknowledged == [1, 1]
    counters = line.stats.figures().counters
    assert (counters.processed, counters.published) == (2, 2)
    assert line.budget.size == 0


def test_a_message_is_acknowledged_when_all_its_results_are_safe(line: Line) -> None:
    [results] = line.hand_on((b"a", b"b", b"c"), b"d", None, (b"e",))
    assert results.payloads == [b"a", b"b", b"c", b"d", b"e"]
    assert list(results.places) == [0, 0, 0, 1, 3]
    line.completion.published([results.part(0, 1), results.part(2, 5)])
    assert line.acknowledged == []
    line.completion.spooled([results.part(1, 2)])
    assert line.acknowledged == [1, 2, 3, 4]
    assert line.settlement.unacknowledged == 0


def test_each_result_has_a_name_of_its_own_which_is_the_same_the_next_time(line: Line) -> None:
    [results] = line.hand_on((b"a", b"a"), b"b")
    names = results.ids()
    assert len(set(names)) == 3
    messages = ids_of(results.chunk.digests)
    assert (names[0], names[2]) == (messages[0], messages[1])
    assert results.part(1, 3).ids() == names[1:]
    line.completion.published([results])
    [again] = line.hand_on((b"a", b"a"), b"b")
    assert again.ids() == names


def test_of_a_chunk_with_as_many_results_as_messages_each_is_its_messages(line: Line) -> None:
    [results] = line.hand_on((b"a", b"b"), None)
    assert results.ids()[0] == ids_of(results.chunk.digests)[0]
    assert results.ids()[1] not in ids_of(results.chunk.digests)


def test_a_refused_one_of_several_is_kept_as_the_result_that_it_is(line: Line) -> None:
    [results] = line.hand_on((Addressed.to(ELSEWHERE, b"a"), b"b"), b"c")
    line.completion.published([results.part(2, 3)])
    assert line.acknowledged == []
    line.completion.refused([results.part(0, 2)], "too large", "out")
    assert line.acknowledged == [1, 2]
    kept = rows(line.folder, "SELECT topic, payload, kind, attempts FROM dead")
    assert kept == [("elsewhere", b"a", "refused", 0), ("out", b"b", "refused", 0)]
