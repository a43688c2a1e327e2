"""Every end that a message can come to, and nothing else: what guarantees.md promises, as code.

Whatever the end, the message is settled exactly once, and not before its end is safe.

    dropped ─────────────── there was no room for it, or no time (QoS 0 alone)
    nothing to publish ──── the model returned None
    dead letter ─────────── the model failed, or gave nothing that can be published
    published ───────────── the broker has the result
    spooled ─────────────── the result is durable on disk
    refused ─────────────── the broker will never take the result: a dead letter
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, repeat

from pyboot_svc.logs import RateLimit
from pyboot_svc.text import counted
from pyboot_svc.worker.delivery.dead_letters import REFUSED, DeadLetters, refused, refused_result
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.messages import (
    Chunk,
    Message,
    Result,
    ResultBatch,
    Sendable,
    StoredMessage,
    count_of,
    payloads_of,
    topic_of,
)
from pyboot_svc.worker.stats import Stats
from pyboot_svc.worker.tracer import Tracer

# The place of the only one.
_FIRST = range(1)

log = logging.getLogger(__name__)


class Completion:
    """Sees messages to their end."""

    def __init__(
        self,
        post_queue: PostQueue,
        dead_letters: DeadLetters,
        saver: StateSaver,
        settlement: Settlement,
        stats: Stats,
        tracer: Tracer | None = None,
    ) -> None:
        """`tracer` is shown the ends while it is on."""
        self._post_queue = post_queue
        self._dead_letters = dead_letters
        self._saver = saver
        self._settlement = settlement
        self._stats = stats
        # So many seconds a model thread was at so many messages.
        self.worked: Callable[[tuple[float, int]], None] = stats.worked
        self._tracer = tracer or Tracer("")
        self._drop_log = RateLimit(1, 10.0)

    def dropped(self, count: int, *, for_bytes: bool = False) -> None:
        """So many of QoS 0 found no room: in number, or `for_bytes`."""
        self._stats.add("dropped", count)
        full = "queue.bytes" if for_bytes else "pre_queue"
        if self._drop_log.admit(full) is None:
            return
        why = "the model is too slow for what arrives: raise `instance` or `threads`"
        if for_bytes:
            why = "what is held has too many bytes: raise `queue.bytes`, `instance` or `threads`"
        log.warning(
            "%s is full: dropped %s of QoS 0; %s, or use pre_qos 1",
            full,
            counted(count, "message"),
            why,
        )

    def dropped_at_stop(self, count: int, *, arrived: bool = True) -> None:
        """So many of QoS 0 the model has not begun; or they have not even `arrived`."""
        if not arrived:
            self._stats.add("received", count)
        self._stats.add("dropped_at_stop", count)

    def hand_on(self, chunk: Chunk, *, last: bool) -> None:
        """What the model has made of the messages since the last call; with `last`, of all.

        Results go to the post_queue, those that failed become dead letters, and what there is
        nothing to publish of is settled.
        """
        start, stop = chunk.handed_on, len(chunk.results)
        chunk.handed_on = stop
        places = range(start, stop)
        saver = self._saver
        if places and (saver.state.changes or not saver.idle):
            saver.note(chunk, places)
        if chunk.batch.particulars.tick:
            self._stats.add("ticks", stop - start)
        else:
            self._stats.processed(stop - start)
        # A copy of a part: the thread at work may add another one meanwhile.
        found: Sequence[Result]
        found = chunk.results if last and not start else chunk.results[start:stop]
        if self._tracer.spans is not None:
            found = self._tracer.handed_on(chunk, places, found)
        if all(found) and not chunk.unusual:  # by far the most frequent
            results = ResultBatch(chunk, places, found) if found else None  # type: ignore[arg-type]
            self._post_queue.put(chunk.number, results, last=last)
            return
        some = None
        if found.count(None) < len(found):
            some = self._some_results(chunk, places, found)
        self._post_queue.put(chunk.number, some, last=last)
        without: Sequence[int] = places
        if some is not None:
            without = [place for place in places if found[place - start] is None]
        if without:
            self._end_without_result(chunk, without)

    def is_plain(self, chunk: Chunk) -> bool:
        """Whether it has one result, and nothing is to be done but to publish it."""
        results = chunk.results
        if len(results) != 1 or not results[0] or chunk.handed_on or chunk.unusual:
            return False
        saver = self._saver
        changed = saver.state.changes or not saver.idle
        return not (chunk.batch.particulars.tick or changed or self._tracer.on)

    def published_at_once(self, chunk: Chunk) -> None:
        """The broker has the result of a chunk that `is_plain`, which has waited nowhere."""
        chunk.handed_on = 1
        self._stats.published_lone(chunk.batch.arrived[0])
        size = len(chunk.results[0])  # type: ignore[arg-type]
        self._post_queue.skip(chunk.number, size)
        self._settlement.settle(chunk, _FIRST)

    def on_its_way(self, results: ResultBatch) -> None:
        """The result of a chunk that `is_plain`: it is with the network, and not yet published."""
        results.chunk.handed_on = 1
        self._stats.processed(1)
        self._post_queue.skip(results.chunk.number, results.size, held=results.size)

    def _some_results(
        self, chunk: Chunk, places: Sequence[int], found: Sequence[Result]
    ) -> ResultBatch | None:
        """Those that there are: of a message none, one, or several."""
        each = [one if type(one) is tuple else payloads_of(one) for one in found]
        payloads = list(chain.from_iterable(each))
        if not payloads:
            return None
        counts = list(map(len, each))
        kept, numbers = _places_and_numbers(places, counts)
        if max(counts) == 1:
            return ResultBatch(chunk, kept, payloads)
        # A message is settled when all of them are safe.
        self._settlement.hold(chunk, kept)
        return ResultBatch(chunk, kept, payloads, numbers)

    def _end_without_result(self, chunk: Chunk, places: Sequence[int]) -> None:
        failures = dict(chunk.failures)
        failed: Sequence[int] = ()
        silent = places
        if failures:
            failed = [place for place in places if place in failures]
            silent = [place for place in places if place not in failures]
        if not chunk.batch.particulars.tick:
            self._stats.add("nothing_to_publish", len(silent))
        if self._tracer.on:
            self._tracer.ended_without(chunk, silent, "nothing to publish")
            self._tracer.ended_without(chunk, failed, "dead letter")
        self._settlement.settle(chunk, silent)
        if failed:
            last = failures[failed[-1]]
            kinds = [failures[place].kind for place in failed]
            self._stats.add_errors(kinds, f"{last.kind}: {last.error}")
            if chunk.batch.particulars.tick:  # there is nothing to try again
                self._settlement.settle(chunk, failed)
                return
            letters = [(chunk.batch.message(place), failures[place]) for place in failed]
            self._dead_letters.add(letters, partial(self._settlement.settle, chunk, failed))

    def published(self, some: Sequence[ResultBatch]) -> None:
        """The broker has these results."""
        size = 0
        for results in some:
            self._stats.published(results)
            if self._tracer.on:
                self._tracer.ended_with(results, "published")
            self._settlement.settle(results.chunk, results.places)
            size += results.size
        self._post_queue.left(size)

    def spooled(self, some: Sequence[ResultBatch]) -> None:
        """These results are durable on disk."""
        for results in some:
            self._stats.add("spooled", len(results))
            if self._tracer.on:
                self._tracer.ended_with(results, "spooled")
            self._settlement.settle(results.chunk, results.places)
        self._post_queue.left(sum(results.size for results in some))

    def published_from_spool(self, count: int) -> None:
        """The broker has so many results whose inputs were settled when they were spooled."""
        self._stats.add("published", count)

    def dropped_from_spool(self, count: int, why: str) -> None:
        """So many results will never be published; `why` is a counter's name."""
        self._stats.add(why, count)

    def refused(self, items: Sequence[Sendable], reason: str, usual: str) -> None:
        """The broker will never take these results, whose topic is the `usual` one if they have
        none of their own: they are kept as dead letters."""
        for item in items:
            self._stats.add_errors([REFUSED] * count_of(item), f"{REFUSED}: {reason}")
            if isinstance(item, StoredMessage):
                result = Message(item.topic, item.payload), refused_result(reason)
                self._dead_letters.add([result], lambda: None)
                continue
            chunk, places = item.chunk, item.places
            if self._tracer.on:
                self._tracer.ended_with(item, "refused", f"{REFUSED}: {reason}")
            if item.numbers is None and not chunk.batch.particulars.tick:
                letters = [(chunk.batch.message(place), refused(reason)) for place in places]
            else:  # there is no input, or others have come of it, which are published
                payloads = [(topic_of(payload, usual), bytes(payload)) for payload in item.payloads]
                letters = [(Message(*each), refused_result(reason)) for each in payloads]
            self._dead_letters.add(letters, partial(self._settlement.settle, chunk, places))
        self._post_queue.left(sum(item.size for item in items if isinstance(item, ResultBatch)))


def _places_and_numbers(
    places: Sequence[int], counts: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Of so many results of the message at each place: the place, and which one it is."""
    count = counts[0]
    if counts.count(count) == len(counts):  # mostly a model publishes the same number each time
        kept = [0] * (count * len(places))
        for number in range(count):
            kept[number::count] = places
        return kept, [*range(count)] * len(places)
    kept = list(chain.from_iterable(map(repeat, places, counts)))
    return kept, list(chain.from_iterable(map(range, counts)))
