"""One model thread, and the call that it is in."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyboot_svc.config import OnError
from pyboot_svc.model.codec import Codec, PayloadError, PayloadFault
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.worker.delivery.dead_letters import Fault
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.failure_log import FailureLog, summary
from pyboot_svc.worker.execution.poison import MOST_CRASHES, PoisonTracker
from pyboot_svc.worker.messages import Chunk, Message

# Between two attempts, unless more is asked for: a doubling would soon last for days.
_LONGEST_PAUSE_SECONDS = 60.0

Outcome = tuple[bytes | None, Fault | None]


class Job:
    """A chunk in work. The results that the chunk has by now are in `results`.

    `buried` are those that failed, by their place in the chunk; `handed` counts the messages
    whose outcome was handed on already. `singly`: a model of batches gets one message a call.
    """

    __slots__ = ("buried", "chunk", "handed", "lock", "results", "singly")

    def __init__(
        self,
        chunk: Chunk,
        results: list[bytes | None] | None = None,
        buried: dict[int, Fault] | None = None,
        handed: int = 0,
        *,
        singly: bool = False,
    ) -> None:
        self.chunk = chunk
        self.results = [] if results is None else results
        self.buried = {} if buried is None else buried
        self.handed = handed
        self.singly = singly
        self.lock = threading.Lock()
        chunk.results = self.results


@dataclass(frozen=True)
class ModelCall:
    """What it takes to call the model: the same for all threads of an instance.

    `batches`: the model takes a list and returns one.
    """

    model: Model
    codec: Codec
    on_error: OnError
    timeout: float
    ledger: CrashJournal
    suspects: PoisonTracker
    failures: FailureLog
    batches: bool = False


class Runner:
    """Works through jobs; `give_up` takes the one at hand away from a call that never ends.

    While all goes well, a message costs it the call and little else: how long a call lasts is
    seen from outside, by whether `results` grows.
    """

    def __init__(self, number: int, calling: ModelCall, context: Context) -> None:
        self.number = number
        self._calling = calling
        self._context = context
        self._job: Job | None = None
        self._given_up = False
        self._native_id: int | None = None
        self._longest_pause = max(calling.on_error.backoff, _LONGEST_PAUSE_SECONDS)
        # When the first call of the job, or the latest that is known of, began; inf between two
        # attempts. Others can only be told from outside, by `_seen`.
        self._began = float("inf")
        self._seen: tuple[object, int] = (None, 0)
        self._seen_at = 0.0

    def work(self, job: Job) -> bool:
        """Call the model for the rest of the job; False when it was taken away meanwhile."""
        if self._native_id is None:  # asking takes a system call
            self._native_id = threading.get_native_id()
        chunk = job.chunk
        first = len(job.results)
        together = self._calling.batches and not job.singly and len(chunk) - first > 1
        chunk.together = together
        if chunk.batch.redeliverable:  # what doesn't come again can't kill the next process, too
            digests = chunk.digests[first:] if first else chunk.digests
            self._calling.ledger.begin(self.number, digests, together=together)
        self._began = time.monotonic()
        # From here on it can be given up, and ledger and chunk can be a successor's.
        self._job = job
        if together:
            self._work_together(job, first)
        elif self._calling.suspects or self._calling.batches or chunk.batch.invalid:
            self._work_carefully(job, first)
        else:
            self._work_singly(job, first)
        with job.lock:
            if self._given_up:
                return False
            self._job = None
            if chunk.batch.redeliverable:
                self._calling.ledger.end(self.number)
        return True

    def stuck_job(self) -> Job | None:
        """The job, if nothing of it was done since the last time that this was asked."""
        job = self._job
        if job is None:
            return None
        seen = (job, len(job.results))
        if seen == self._seen:
            return job
        if self._seen[0] is job or seen[1] > 0:
            # It went on meanwhile, nobody knows when: the call at hand may have begun just now.
            self._seen_at = time.monotonic()
        self._seen = seen
        return None

    def give_up(self, job: Job) -> Job | None:
        """What is left of a stuck job, without the message whose call lasts too long.

        None while it may still last, or when it has just ended.
        """
        with job.lock:
            if time.monotonic() - max(self._began, self._seen_at) <= self._calling.timeout:
                return None
            done, chunk = len(job.results), job.chunk
            # The call that was seen to last, and not the next one, which has just begun.
            if self._seen != (job, done) or self._job is not job or done >= len(chunk):
                return None
            self._given_up = True
            self._calling.ledger.end(self.number)
            # The thread notes a failure before its result: of one that isn't kept, neither is.
            failed = dict(job.buried)
            kept, buried = job.results[:done], {at: failed[at] for at in failed if at < done}
            handed, together = job.handed, chunk.together
        chunk.together = False
        if not together:
            text = f"the call did not end within model_timeout, {self._calling.timeout:.0f} s"
            self._calling.failures.say(PayloadFault.TIMEOUT, chunk.batch.message(done), text)
            kept.append(None)
            buried[done] = Fault(PayloadFault.TIMEOUT, text)
        # Of a batch nobody knows which one it is: each gets a call of its own.
        return Job(chunk, kept, buried, handed, singly=True)

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

    def _work_singly(self, job: Job, first: int) -> None:
        calling, context, batch = self._calling, self._context, job.chunk.batch
        model, decode, encode = calling.model, calling.codec.decode, calling.codec.encode
        words, cursor = calling.ledger.cursor(self.number)
        noted = batch.redeliverable
        append = job.results.append
        topics, payloads = batch.topics, batch.payloads
        if first:
            topics, payloads = topics[first:], payloads[first:]
        for number, payload in enumerate(payloads):
            if self._given_up:
                return
            if noted:
                words[cursor] = number
            context.topic = topics[number]
            try:
                result = model(decode(payload), context)
                append(None if result is None else encode(result))
            except BaseException as error:  # the user's code: whatever it raises, the next comes
                self._note(job, self._recover(batch.message(first + number), error))

    def _work_carefully(self, job: Job, first: int) -> None:
        words, cursor = self._calling.ledger.cursor(self.number)
        batch = job.chunk.batch
        invalid = batch.invalid or {}
        for place in range(first, len(batch)):
            if self._given_up:
                return
            words[cursor] = place - first
            message, misfit = batch.message(place), invalid.get(place)
            if misfit is not None:
                self._note(job, (None, self._fail(message, misfit.fault, misfit.text, 1)))
            else:
                self._note(job, self._process(message))

    def _work_together(self, job: Job, first: int) -> None:
        """One call for all; when it fails, one for each."""
        codec, batch = self._calling.codec, job.chunk.batch
        outcomes: list[Outcome | None] = []
        payloads: list[Any] = []
        topics: list[str] = []
        for place in range(first, len(batch)):
            if batch.invalid and (misfit := batch.invalid.get(place)) is not None:
                fault = self._fail(batch.message(place), misfit.fault, misfit.text, 1)
                outcomes.append((None, fault))
                continue
            try:
                payloads.append(codec.decode(batch.payloads[place]))
                topics.append(batch.topics[place])
                outcomes.append(None)
            except PayloadError as error:
                message = batch.message(place)
                outcomes.append((None, self._fail(message, error.fault, str(error), 1)))
        try:
            values = iter(self._call_together(payloads, topics))
        except BaseException as error:  # the user's code
            with job.lock:
                if self._given_up:
                    return
                job.chunk.together = False
                self._began = time.monotonic()
                if batch.redeliverable:
                    self._calling.ledger.begin(self.number, job.chunk.digests[first:])
            self._calling.failures.say_batch(len(payloads), error)
            self._work_carefully(job, first)
            return
        for place, outcome in enumerate(outcomes, first):
            if outcome is None:
                value = next(values)
                try:
                    outcome = (None if value is None else codec.encode(value), None)
                except PayloadError as error:
                    message = batch.message(place)
                    outcome = (None, self._fail(message, error.fault, str(error), 1))
            self._note(job, outcome)

    def _call_together(self, payloads: list[Any], topics: list[str]) -> Any:
        if not payloads:
            return []  # none could be decoded
        context = self._context
        context.topic, context.topics = topics[0], tuple(topics)
        return one_each(self._calling.model(payloads, context), len(payloads))

    def _note(self, job: Job, outcome: Outcome) -> None:
        result, fault = outcome
        if self._given_up:
            return
        if fault is not None:
            job.buried[len(job.results)] = fault
        job.results.append(result)

    def _process(self, message: Message) -> Outcome:
        """The result to publish, if any, or why there is none."""
        calling = self._calling
        crashes = calling.suspects.crashes(message) if calling.suspects else 0
        if crashes >= MOST_CRASHES:
            calling.suspects.clear(message)
            return None, self._fail(message, PayloadFault.POISON, _poison(crashes), crashes)
        try:
            self._began = time.monotonic()
            outcome: Outcome = self._call(message), None
        except BaseException as error:  # the user's code
            outcome = self._recover(message, error)
        if crashes:
            calling.suspects.clear(message)
        return outcome

    def _recover(self, message: Message, error: BaseException) -> Outcome:
        """After a first attempt that failed with `error`: the others."""
        on_error = self._calling.on_error
        for attempt in range(1, on_error.retries + 2):
            if isinstance(error, PayloadError):
                return None, self._fail(message, error.fault, str(error), attempt)
            # A ValueError says that the input is bad: it would be no better the next time.
            if attempt > on_error.retries or isinstance(error, ValueError):
                return None, self._fail(message, PayloadFault.MODEL, summary(error), attempt)
            self._began = float("inf")
            time.sleep(min(on_error.backoff * 2 ** (attempt - 1), self._longest_pause))
            self._began = time.monotonic()
            try:
                return self._call(message), None
            except BaseException as another:
                error = another
        raise AssertionError("unreachable: the last attempt returns")

    def _call(self, message: Message) -> bytes | None:
        calling, context = self._calling, self._context
        payload: Any = calling.codec.decode(message.payload)
        context.topic = message.topic
        if calling.batches:
            context.topics = (message.topic,)
            result = next(iter(one_each(calling.model([payload], context), 1)))
        else:
            result = calling.model(payload, context)
        return None if result is None else calling.codec.encode(result)

    def _fail(self, message: Message, kind: PayloadFault, text: str, attempts: int) -> Fault:
        self._calling.failures.say(kind, message, text)
        return Fault(kind, text, attempts)


def one_each(results: Any, count: int) -> Any:
    """What a model of batches returned, if it is one result for each of `count` payloads."""
    if isinstance(results, str | bytes | bytearray | dict) or not hasattr(results, "__len__"):
        raise TypeError(
            f"a model with `batch:` returns a list with a result for each payload, not a "
            f"{type(results).__name__}"
        )
    if len(results) != count:
        raise TypeError(
            f"the model returned {len(results)} results for a batch of {count}: it has to return "
            "one for each, None where there is nothing to publish"
        )
    return results


def _poison(crashes: int) -> str:
    return f"the process died {crashes} times with this message in hand"
