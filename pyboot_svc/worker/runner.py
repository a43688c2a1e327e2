"""One model thread, and the call that it is in."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyboot_svc.config import OnError
from pyboot_svc.logs import RateLimit
from pyboot_svc.model.codec import Codec, PayloadError, PayloadFault
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.worker.graveyard import Fault
from pyboot_svc.worker.ledger import Ledger
from pyboot_svc.worker.message import Chunk, Message
from pyboot_svc.worker.progress import Heartbeat
from pyboot_svc.worker.suspects import MOST_CRASHES, Suspects

_SHOWN_BYTES = 64
# Between two attempts, unless more is asked for: a doubling would soon last for days.
_LONGEST_PAUSE_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """A chunk in work: the next message by its index, and what failed so far."""

    chunk: Chunk
    next: int = 0
    buried: list[tuple[Message, Fault]] = field(default_factory=list)


@dataclass(frozen=True)
class Calling:
    """What it takes to call the model: the same for all threads of an instance."""

    model: Model
    codec: Codec
    on_error: OnError
    timeout: float
    ledger: Ledger
    suspects: Suspects
    failures: FailureLog


class Runner:
    """Works through jobs; `give_up` takes the one at hand away from a call that never ends."""

    def __init__(self, number: int, calling: Calling, context: Context) -> None:
        self.number = number
        self._calling = calling
        self._context = context
        self._heartbeat = Heartbeat()
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._given_up = False
        self._native_id: int | None = None
        self._longest_pause = max(calling.on_error.backoff, _LONGEST_PAUSE_SECONDS)

    def work(self, job: Job) -> bool:
        """Call the model for the rest of the job; False when it was taken away meanwhile."""
        self._native_id = threading.get_native_id()
        self._job = job
        ledger, messages = self._calling.ledger, job.chunk.messages
        while job.next < len(messages):
            message = messages[job.next]
            job.chunk.started = job.next + 1
            ledger.begin(self.number, message.topic.encode(), message.payload)
            result, fault = self._process(message)
            with self._lock:
                if self._given_up:
                    return False
                self._heartbeat.rest()
                ledger.end(self.number)
                job.next += 1
            message.result = result
            if fault is not None:
                job.buried.append((message, fault))
        self._job = None
        return True

    def give_up(self) -> Job | None:
        """The job, advanced past the message whose call lasts too long; None when all is well."""
        with self._lock:
            job = self._job
            if job is None or self._heartbeat.overdue <= 0:
                return None
            self._given_up = True
            self._calling.ledger.end(self.number)
        message = job.chunk.messages[job.next]
        text = f"the call did not end within model_timeout, {self._calling.timeout:.0f} s"
        self._calling.failures.say(PayloadFault.TIMEOUT, message, text)
        job.buried.append((message, Fault(PayloadFault.TIMEOUT, text)))
        job.next += 1
        return job

    def cpu_seconds(self) -> float | None:
        """CPU time that its thread has used; None when it has ended."""
        try:
            stat = Path(f"/proc/self/task/{self._native_id}/stat").read_text(encoding="ascii")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _process(self, message: Message) -> tuple[bytes | None, Fault | None]:
        """The result to publish, if any, or why there is none."""
        calling = self._calling
        crashes = calling.suspects.crashes(message) if calling.suspects else 0
        if crashes >= MOST_CRASHES:
            calling.suspects.clear(message)
            return None, self._fail(message, PayloadFault.POISON, _poison(crashes), crashes)
        outcome = self._attempts(message)
        if crashes:
            calling.suspects.clear(message)
        return outcome

    def _attempts(self, message: Message) -> tuple[bytes | None, Fault | None]:
        on_error = self._calling.on_error
        for attempt in range(1, on_error.retries + 2):
            self._heartbeat.beat(self._calling.timeout)
            try:
                return self._call(message), None
            except PayloadError as error:
                return None, self._fail(message, error.fault, str(error), attempt)
            except (
                BaseException
            ) as error:  # the user's code: whatever it raises, the next one comes
                # A ValueError says that the input is bad: it would be no better the next time.
                if attempt > on_error.retries or isinstance(error, ValueError):
                    fault = self._fail(message, PayloadFault.MODEL, _summary(error), attempt)
                    return None, fault
            self._heartbeat.rest()
            time.sleep(min(on_error.backoff * 2 ** (attempt - 1), self._longest_pause))
        raise AssertionError("unreachable: the last attempt returns")

    def _call(self, message: Message) -> bytes | None:
        codec = self._calling.codec
        payload = codec.decode(message.payload)
        self._context.topic = message.topic
        result: Any = self._calling.model(payload, self._context)
        return None if result is None else codec.encode(result)

    def _fail(self, message: Message, kind: PayloadFault, text: str, attempts: int) -> Fault:
        self._calling.failures.say(kind, message, text)
        return Fault(kind, text, attempts)


class FailureLog:
    """Says which messages failed and why: a few of each kind in a while, the others counted."""

    def __init__(self) -> None:
        self._limit = RateLimit(5, 10.0)

    def say(self, fault: PayloadFault, message: Message, reason: str) -> None:
        silent = self._limit.admit(fault)
        if silent is None:
            return
        more = f" ({silent} more of this kind were not shown)" if silent else ""
        log.error(
            "message failed (%s): topic %s, %d bytes, begins %r: %s%s",
            fault,
            message.topic,
            len(message.payload),
            message.payload[:_SHOWN_BYTES],
            reason,
            more,
            extra={"TOPIC": message.topic},
        )


def _poison(crashes: int) -> str:
    return f"the process died {crashes} times with this message in hand"


def _summary(error: BaseException) -> str:
    """The error and where in the model it came from; a deep recursion's trace is cut."""
    try:
        text = str(error)
    except BaseException:  # its own __str__ is the user's code, too
        text = "(it can't be shown)"
    lines = traceback.format_exception(error, limit=-5)
    return f"the model raised {type(error).__name__}: {text}\n{''.join(lines).rstrip()}"
