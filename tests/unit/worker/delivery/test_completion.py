"""A message of which several results come: it is settled when all of them are safe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.columns import Acknowledged, chunk_of, roomy_budget
from support.store import configured, rows, running, settled

from pyboot_svc.model.state import ModelState
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.messages import Addressed, Destination, Result, ResultBatch, ids_of
from pyboot_svc.worker.stats import Stats
from pyboot_svc.worker.storage.durable_queue import DEAD_LETTERS, DurableQueue
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

ELSEWHERE = Destination("elsewhere", 1)


class Line:
    """From the model's results to acknowledgements."""

    def __init__(self, store: DatabaseWriter, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.chunks = 0
        budget = roomy_budget()
        saver = StateSaver(ModelState({}), store)
        self.origin = Acknowledged()
        self.settlement = Settlement(budget, saver)
        self.results = PostQueue(100, budget)
        lane = DurableQueue(store, folder / DATABASE_NAME, DEAD_LETTERS)
        letters = DeadLetters(configured(), store, lane, lambda: None)
        self.completion = Completion(self.results, letters, saver, self.settlement, Stats())

    def hand_on(self, *results: Result) -> list[ResultBatch]:
        """What a model has made of as many messages; gives what is to be published."""
        payloads = [b"%d" % number for number in range(len(results))]
        chunk = chunk_of(payloads, self.chunks, origin=self.origin)
        self.chunks += 1
        self.settlement.admit(chunk.batch)
        chunk.unusual = True
        chunk.results.extend(results)
        self.completion.hand_on(chunk, last=True)
        return self.results.take(100)

    @property
    def acknowledged(self) -> list[int]:
        settled(self.store)
        return self.origin.packet_ids


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with running(tmp_path / DATABASE_NAME) as store:
        yield Line(store, tmp_path)


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
    [results] = line.hand_on((Addressed.to(ELSEWHERE, b"a"), Addressed.to(ELSEWHERE, b"b")), b"c")
    line.completion.published([results.part(1, 3)])
    assert line.acknowledged == []
    line.completion.refused([results.part(0, 1)], "too large")
    assert line.acknowledged == [1, 2]
    kept = rows(line.folder, "SELECT topic, payload, kind, attempts FROM dead")
    assert kept == [("elsewhere", b"a", "refused", 0)]
