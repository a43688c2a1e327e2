"""One model thread, and the call that it is in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from pyboot_svc.forks import end_forked, hear_forks
from pyboot_svc.model.codec import PayloadError, PayloadFault
from pyboot_svc.model.context import Context, GivenUpCall
from pyboot_svc.model.plain import simpler
from pyboot_svc.model.state import CALL_GIVEN_UP, CallState
from pyboot_svc.worker.execution.call import CallAtHand
from pyboot_svc.worker.execution.failure_log import summary
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.poison import MOST_CRASHES
from pyboot_svc.worker.messages import (
    NOTHING_PARTICULAR,
    Chunk,
    Fault,
    Message,
    MessageBatch,
    Result,
)

if TYPE_CHECKING:
    from pyboot_svc.model.coroutines import Coroutines  # which takes asyncio

# Between two attempts, unless more is asked for: a doubling would soon last for days.
_LONGEST_PAUSE_SECONDS = 60.0

Outcome = tuple[Result, Fault | None]


@dataclass(slots=True)
class _Meanwhile:
    """One of several calls at once, with what it sees and what has become of it."""

    place: int
    state: CallState
    result: Result = None
    error: BaseException | None = None


def _keep(chunk: Chunk) -> None:
    """Who has called for the work has the chunk."""


class Runner:
    """Works through chunks; `give_up` takes the one at hand away from a call that never ends.

    While all goes well, a message costs it the call and little else: how long a call lasts is
    seen from outside, by whether `results` grows.
    """

    def __init__(self, number: int, call: ModelCall, context: Context) -> None:
        self.number = number
        # Held by whoever says what becomes of the chunk at hand.
        self.lock = threading.Lock()
        self._call = call
        self._at_hand = CallAtHand(call.publishing, call.clock)
        self._function = call.model.function
        self._decode, self._encode = call.codec.decode, call.codec.encode
        self._differs = call.publishing.differs
        # Whether a call can ask, or say, anything about the message at hand.
        self._speaks = self._differs or call.model.needs_context
        self._usual: Callable[[Chunk, int], None] = self._work_singly
        if self._differs:
            self._usual = self._work_carefully
        elif self._speaks:
            self._usual = self._work_with_context
        # Whether a call may have several messages, or several calls may go on at once.
        self._several = call.batch is not None or call.concurrency > 1
        self._context = context
        context.call = self._at_hand
        assert isinstance(context.state, CallState)  # of one thread
        self._state = context.state
        self._cursor = call.journal.cursor(number)
        self._chunk: Chunk | None = None
        self._given_up = False
        # Whether this is a process that the model has forked during a call.
        self._is_forked = False
        hear_forks(self._go_on_in_child)
        self._native_id: int | None = None
        self._thread = 0
        self._meanwhile: list[_Meanwhile] = []
        self._longest_pause = max(call.on_error.backoff, _LONGEST_PAUSE_SECONDS)
        # When the first call of the chunk, or the latest that is known of, began; inf between two
        # attempts. Others can only be told from outside, by `_seen`.
        self._began = float("inf")
        self._seen: tuple[object, int] = (None, 0)
        self._seen_at = 0.0

    def work(self, chunk: Chunk, hand_on: Callable[[Chunk], None] = _keep) -> bool:
        """Call the model for the rest of it, and `hand_on` what that has made of it, within `lock`;
        False when it was taken away meanwhile."""
        if self._native_id is None:  # asking takes a system call
            self._native_id = threading.get_native_id()
            self._thread = threading.get_ident()
        call, batch, first = self._call, chunk.batch, len(chunk.results)
        redeliverable = batch.redeliverable
        work, together = self._usual, False
        particular = batch.particulars is not NOTHING_PARTICULAR
        if self._several or particular or call.suspects.counts:
            work, together = self._way_of(chunk, first)
        # What comes again can kill the next process, too.
        if redeliverable and not batch.particulars.tick:
            digests = chunk.digests[first:] if first else chunk.digests
            call.journal.begin(self.number, digests, together)
        self._began = began = monotonic()
        if self._speaks:
            self._at_hand.begin(batch)
        # From here on it can be given up, and the journal's slot can be a successor's.
        self._chunk = chunk
        work(chunk, first)
        if self._at_hand.open:
            self._at_hand.end()
        if self._is_forked:  # and the lock may be held, by nobody
            end_forked(None)
        took = monotonic() - began
        with self.lock:
            if self._given_up:
                self._come_back()
                return False
            chunk.took, chunk.began = took, began
            self._chunk = None
            if redeliverable:
                call.journal.end(self.number)
            hand_on(chunk)
        return True

    def stuck_chunk(self) -> Chunk | None:
        """The one at hand, if nothing of it was done since the last time that this was asked."""
        chunk = self._chunk
        if chunk is None:
            return None
        seen = (chunk, len(chunk.results))
        if seen == self._seen:
            return chunk
        if self._seen[0] is chunk or seen[1] > 0:
            # It went on meanwhile, nobody knows when: the call at hand may have begun just now.
            self._seen_at = time.monotonic()
        self._seen = seen
        return None

    @property
    def call_seconds(self) -> float:
        """How long the call at hand has lasted, about, as far as `stuck_chunk` has seen it."""
        chunk = self._chunk
        if chunk is None or self._seen != (chunk, len(chunk.results)):
            return 0.0
        return time.monotonic() - max(self._began, self._seen_at)

    def give_up(self, chunk: Chunk) -> Chunk | None:
        """What is left of a stuck chunk, without the message whose call lasts too long.

        None while it may still last, or when it has just ended.
        """
        call = self._call
        with self.lock:
            if time.monotonic() - max(self._began, self._seen_at) <= call.timeout:
                return None
            done = len(chunk.results)
            # The call that was seen to last, and not the next one, which has just begun.
            if self._seen != (chunk, done) or self._chunk is not chunk or done >= len(chunk):
                return None
            self._given_up = True
            self._context.late[self._thread] = GivenUpCall()
            self._state.give_up(self._thread)
            for one in self._meanwhile:
                one.state.give_up(self._thread)
            call.journal.end(self.number)
            rest, as_one_call = chunk.successor(done), chunk.as_one_call
        if not as_one_call:
            text = f"the call did not end within model_timeout, {call.timeout:.0f} s"
            if chunk.batch.particulars.tick:
                call.failures.say_tick(text)
            else:
                call.failures.say(PayloadFault.TIMEOUT, chunk.batch.message(done), text)
            rest.failures[done] = Fault(PayloadFault.TIMEOUT, text)
            rest.results.append(None)
        # Of a batch nobody knows which one it is: each gets a call of its own.
        return rest

    def _go_on_in_child(self) -> None:
        """No message is its own, not even the next of the chunk."""
        self._is_forked = self._given_up = True

    def _come_back(self) -> None:
        """From a call that was given up: the thread ends."""
        del self._context.late[self._thread]
        self._state.late_call_ended(self._thread)

    def busy_seconds(self) -> float | None:
        """How long its thread has run, or waited for a core to run on; None when it has ended.

        On a busy host one that computes gets little of a core, and waits for the rest.
        """
        task = Path(f"/proc/self/task/{self._native_id}")
        try:
            ran, waited, _ = (task / "schedstat").read_text(encoding="ascii").split()
            return (int(ran) + int(waited)) / 1e9
        except (OSError, ValueError):
            pass  # it has ended, or this kernel keeps no such account
        try:
            stat = (task / "stat").read_text(encoding="ascii")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _way_of(self, chunk: Chunk, first: int) -> tuple[Callable[[Chunk, int], None], bool]:
        """What works on a chunk that may be unusual; and whether on all of it together."""
        call, batch = self._call, chunk.batch
        if batch.particulars.tick:
            return self._tick, False
        if call.batch is not None:
            chunk.as_one_call = not chunk.singly and len(chunk) - first > 1
            if chunk.as_one_call:
                return self._work_as_one_call, True
        if call.batch is not None or batch.particulars.invalid or call.suspects.counts:
            return self._work_carefully, False
        if call.concurrency > 1 and not chunk.singly:
            return self._work_at_once, True
        return self._usual, False

    def _work_singly(self, chunk: Chunk, first: int) -> None:
        batch, append = chunk.batch, chunk.results.append
        function, decode, encode = self._function, self._decode, self._encode
        words, cursor = self._cursor
        noted = batch.redeliverable
        payloads = batch.payloads[first:] if first else batch.payloads
        for number, payload in enumerate(payloads):
            if self._given_up:
                return
            if noted:
                words[cursor] = number
            try:
                result = function(decode(payload))
                append(None if result is None else encode(result))
            except BaseException as error:  # the user's code: whatever it raises, the next comes
                self._note(chunk, self._recover(batch.message(first + number), error))

    def _work_with_context(self, chunk: Chunk, first: int) -> None:
        call, context, batch = self._call, self._context, chunk.batch
        function, decode, encode = self._function, self._decode, self._encode
        words, cursor = self._cursor
        noted, state, at_hand = batch.redeliverable, self._state, self._at_hand
        arguments = (context,) if call.model.wants_context else ()
        append = chunk.results.append
        topics, payloads = batch.topics, batch.payloads
        if first:
            topics, payloads = topics[first:], payloads[first:]
        for number, payload in enumerate(payloads):
            if self._given_up:
                return
            if noted:
                words[cursor] = number
            context.topic = topics[number]
            at_hand.place = first + number
            try:
                result = function(decode(payload), *arguments)
                encoded = None if result is None else encode(result)
                if state.touched:
                    self._commit(state)
                if published := at_hand.results:
                    at_hand.results = []
                    if encoded is not None:
                        published.append(encoded)
                    chunk.unusual = True
                    append(tuple(published))
                else:
                    append(encoded)
            except BaseException as error:  # the user's code
                self._note(chunk, self._recover(batch.message(first + number), error))

    def _work_carefully(self, chunk: Chunk, first: int) -> None:
        words, cursor = self._cursor
        batch = chunk.batch
        invalid = batch.particulars.invalid
        for place in range(first, len(batch)):
            if self._given_up:
                return
            words[cursor] = place - first
            self._at_hand.place = place
            message, trouble = batch.message(place), invalid.get(place)
            if trouble is not None:
                self._note(chunk, (None, self._fail(message, trouble.fault, trouble.text, 1)))
            else:
                self._note(chunk, self._process(message))

    def _work_at_once(self, chunk: Chunk, first: int) -> None:
        """All calls together; those that failed are repeated one by one."""
        coroutines = cast("Coroutines", self._call.model.function)
        batch = chunk.batch
        # Those that failed, and what ended behind them.
        behind: list[_Meanwhile] = []
        stop = first

        def note(ended: _Meanwhile) -> None:
            nonlocal stop
            stop = ended.place + 1
            if behind or not self._note_meanwhile(chunk, ended):
                behind.append(ended)

        with self.lock:
            self._meanwhile = [
                _Meanwhile(place, self._state.sibling()) for place in range(first, len(batch))
            ]
        calls = [partial(self._call_meanwhile, batch, one) for one in self._meanwhile]
        broken: BaseException | None = None
        try:
            coroutines.call_all(calls, note)
        except BaseException as error:  # the user's code has stopped the loop, or cancelled others
            broken = error
        for ended in behind:
            if not self._note_meanwhile(chunk, ended):
                assert ended.error is not None
                self._at_hand.place = ended.place
                message = batch.message(ended.place)
                if coroutines.is_cancelled(ended.error):  # maybe by another one
                    self._note(chunk, self._process(message))
                else:
                    self._note(chunk, self._recover(message, ended.error))
        left, self._meanwhile = self._meanwhile[stop - first :], []
        if broken is not None:
            if not left:
                raise broken
            for one in left:
                one.state.roll_back()
            self._work_one_by_one(chunk, stop, broken)

    async def _call_meanwhile(
        self, batch: MessageBatch, one: _Meanwhile, function: Callable[..., Any]
    ) -> _Meanwhile:
        if self._given_up:  # by one that blocked the event loop
            return one
        call, at_hand = self._call, self._at_hand.sibling(one.place)
        topic = batch.topics[one.place]
        context = replace(self._context, topic=topic, state=one.state, call=at_hand)
        try:
            payload = call.codec.decode(batch.payloads[one.place])
            result = await function(
                *((payload, context) if call.model.wants_context else (payload,))
            )
            one.result = at_hand.take(at_hand.packed(result))
        except BaseException as error:  # the user's code
            one.state.roll_back()
            one.error = error
        return one

    def _note_meanwhile(self, chunk: Chunk, ended: _Meanwhile) -> bool:
        """In the order of messages, as what is behind one that is given up is called again; False
        if it failed."""
        if ended.error is None:
            try:
                self._commit(ended.state)
            except BaseException as error:
                ended.state.roll_back()
                ended.error = error
        if ended.error is not None:
            return False
        self._note(chunk, (ended.result, None))
        return True

    def _work_as_one_call(self, chunk: Chunk, first: int) -> None:
        """One call for all; when it fails, one for each."""
        codec, batch = self._call.codec, chunk.batch
        outcomes: list[Outcome | None] = []
        payloads: list[Any] = []
        places: list[int] = []
        for place in range(first, len(batch)):
            if (trouble := batch.particulars.invalid.get(place)) is not None:
                fault = self._fail(batch.message(place), trouble.fault, trouble.text, 1)
                outcomes.append((None, fault))
                continue
            try:
                payloads.append(codec.decode(batch.payloads[place]))
                places.append(place)
                outcomes.append(None)
            except PayloadError as error:
                message = batch.message(place)
                outcomes.append((None, self._fail(message, error.fault, str(error), 1)))
        try:
            values = iter(self._call_for_all(batch, payloads, places))
        except BaseException as error:  # the user's code
            self._work_one_by_one(chunk, first, error)
            return
        at_hand = self._at_hand
        at_hand.begin(batch)
        for place, outcome in enumerate(outcomes, first):
            if outcome is None:
                at_hand.place = place
                try:
                    outcome = at_hand.packed(next(values)), None
                except PayloadError as error:
                    message = batch.message(place)
                    outcome = None, self._fail(message, error.fault, str(error), 1)
                # With the first, before which none of the others is acknowledged.
                outcome = at_hand.take(outcome[0]), outcome[1]
            self._note(chunk, outcome)

    def _work_one_by_one(self, chunk: Chunk, first: int, error: BaseException) -> None:
        """After the failure of what was to do all of the rest together."""
        call, batch = self._call, chunk.batch
        if not self._undo(error):
            return
        self._at_hand.begin(batch)
        with self.lock:
            if self._given_up:
                return
            chunk.as_one_call = False
            self._began = time.monotonic()
            if batch.redeliverable:
                call.journal.begin(self.number, chunk.digests[first:])
        call.failures.say_batch(len(batch) - first, error)
        self._work_carefully(chunk, first)

    def _call_for_all(self, batch: MessageBatch, payloads: list[Any], places: list[int]) -> Any:
        if not payloads:
            return []  # none could be decoded
        context = self._context
        topics = tuple(batch.topics[place] for place in places)
        context.topic, context.topics = topics[0], topics
        self._at_hand.begin(batch, places)
        results = one_each(self._call.model(payloads, context), len(payloads))
        # Some are only computed when they are asked for: they may fail, or be fewer than they say.
        results = one_each(list(results), len(payloads))
        self._commit(self._state)
        return results

    def _tick(self, chunk: Chunk, first: int) -> None:
        """One that fails is no message's end: the next one is its repetition."""
        if first:
            return  # it was given up
        call, context, at_hand = self._call, self._context, self._at_hand
        at_hand.begin(None)
        context.topic, context.topics = "", ()
        tick = call.model.tick
        assert tick is not None  # or nothing would be due
        try:
            packed = at_hand.packed(tick(context))
            self._commit(self._state)
            outcome: Outcome = at_hand.take(packed), None
        except BaseException as error:  # the user's code
            if not self._undo(error):
                return
            text = str(error) if isinstance(error, PayloadError) else summary(error)
            kind = error.fault if isinstance(error, PayloadError) else PayloadFault.MODEL
            call.failures.say_tick(text)
            outcome = None, Fault(kind, text)
        self._note(chunk, outcome)

    def _note(self, chunk: Chunk, outcome: Outcome) -> None:
        result, fault = outcome
        if self._given_up:
            return
        if fault is not None:
            chunk.failures[len(chunk.results)] = fault
        if type(result) is not bytes and result is not None:
            chunk.unusual = True
        chunk.results.append(result)

    def _commit(self, state: CallState) -> None:
        """A call has ended well; raises RuntimeError if it was given up."""
        if self._is_forked:
            end_forked(None)
        state.assign_lent()  # which takes its time, if there is much
        with self.lock:
            if self._given_up:
                raise RuntimeError(CALL_GIVEN_UP)
            state.keep()
            # From here on its message can't be taken away, as what it has changed is kept.
            self._began = monotonic()

    def _undo(self, error: BaseException) -> bool:
        """What a call has done that failed; False if it was given up, and undone by that."""
        if self._is_forked:
            end_forked(error)
        with self.lock:
            if self._given_up:
                return False
            self._state.roll_back()
            self._at_hand.forget()
        return True

    def _process(self, message: Message) -> Outcome:
        """The result to publish, if any, or why there is none."""
        call = self._call
        crashes = call.suspects.crashes(message) if call.suspects.counts else 0
        if crashes >= MOST_CRASHES:
            call.suspects.clear(message)
            return None, self._fail(message, PayloadFault.POISON, _poison(crashes), crashes)
        try:
            self._began = time.monotonic()
            outcome: Outcome = self._attempt(message), None
        except BaseException as error:  # the user's code
            outcome = self._recover(message, error)
        if crashes:
            call.suspects.clear(message)
        return outcome

    def _recover(self, message: Message, error: BaseException) -> Outcome:
        """After a first attempt that failed with `error`: the others."""
        on_error, retried = self._call.on_error, self._call.retried
        first = error
        for attempt in range(1, on_error.retries + 2):
            if not self._undo(error):
                return None, None
            if isinstance(error, PayloadError):
                return None, self._fail(message, error.fault, str(error), attempt)
            # Others say that the input is bad: it would be no better the next time.
            if attempt > on_error.retries or not _is_retried(error, retried):
                return None, self._fail(message, PayloadFault.MODEL, summary(error), attempt)
            self._began = float("inf")
            time.sleep(min(on_error.backoff * 2 ** (attempt - 1), self._longest_pause))
            self._began = time.monotonic()
            try:
                return self._attempt(message), None
            except BaseException as another:
                _forget(first, another)
                error = another
        raise AssertionError("unreachable: the last attempt returns")

    def _attempt(self, message: Message) -> Result:
        call, context = self._call, self._context
        payload: Any = call.codec.decode(message.payload)
        context.topic = message.topic
        if call.batch is not None:
            context.topics = (message.topic,)
            result = next(iter(one_each(call.model([payload], context), 1)))
        else:
            result = call.model(payload, context)
        packed = self._at_hand.packed(result)
        self._commit(self._state)
        return self._at_hand.take(packed)

    def _fail(self, message: Message, kind: PayloadFault, text: str, attempts: int) -> Fault:
        self._call.failures.say(kind, message, text)
        return Fault(kind, text, attempts)


def one_each(results: Any, count: int) -> Any:
    """What a model of batches returned, if it is one result for each of `count` payloads."""
    # A set has no order by which they would belong to messages.
    other = isinstance(results, str | bytes | bytearray | Mapping | set | frozenset)
    if other or not hasattr(results, "__len__") or getattr(results, "ndim", 1) == 0:
        raise TypeError(
            f"a model with `batch:` returns a list with a result for each payload, not a "
            f"{type(results).__name__}"
        )
    if hasattr(results, "columns"):  # a table is what its rows are
        results = simpler(results)
    if len(results) != count:
        raise TypeError(
            f"the model returned {len(results)} results for a batch of {count}: it has to return "
            "one for each, None where there is nothing to publish"
        )
    return results


def _is_retried(error: BaseException, retried: tuple[type[BaseException], ...]) -> bool:
    """Also a group of nothing else, as asyncio's TaskGroup makes of what its tasks raise."""
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, retried):
        return all(_is_retried(one, retried) for one in error.exceptions)
    return isinstance(error, retried)


def _forget(before: BaseException, error: BaseException) -> None:
    """Of the attempt `before` that of `error` is no part: Python takes it for its context."""
    while error.__context__ is not None and error.__context__ is not before:
        error = error.__context__
    error.__context__ = None


def _poison(crashes: int) -> str:
    return f"the process died {crashes} times with this message in hand"
