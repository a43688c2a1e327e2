"""The model threads: they take messages, call the model, and hand on what it returned."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from functools import partial

from pyboot_svc.logs import RateLimit
from pyboot_svc.model.codec import Codec, PayloadError, PayloadFault
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.threads import spawn
from pyboot_svc.worker.message import Chunk, Message
from pyboot_svc.worker.progress import Heartbeat
from pyboot_svc.worker.queues import PostQueue, PreQueue
from pyboot_svc.worker.tally import Tally

# A chunk is as long as the model's work on it lasts about this long: hand-offs then cost little,
# and the first result of a chunk doesn't wait long for its last.
_CHUNK_SECONDS = 0.002
_LONGEST_CHUNK = 256
_SHOWN_BYTES = 64

log = logging.getLogger(__name__)


class ModelPool:
    """Runs one model in N threads between the two queues.

    `settle` is given the messages that have nothing to publish; those with a result go to the
    post_queue, in order of arrival. `make_context` is called once a thread. A call that lasts
    longer than `timeout` seconds shows in `overdue`.
    """

    def __init__(
        self,
        model: Model,
        codec: Codec,
        make_context: Callable[[], Context],
        waiting: PreQueue,
        results: PostQueue,
        settle: Callable[[list[Message]], None],
        tally: Tally,
        timeout: float,
    ) -> None:
        self._timeout = timeout
        self._model = model
        self._codec = codec
        self._make_context = make_context
        self._waiting = waiting
        self._results = results
        self._settle = settle
        self._tally = tally
        self._failures = FailureLog()
        self._size = 0
        self._heartbeats: list[Heartbeat] = []

    def start(self, size: int, on_crash: Callable[[], None]) -> None:
        self._size = size
        self._heartbeats = [Heartbeat() for _ in range(size)]
        for number, heartbeat in enumerate(self._heartbeats):
            spawn(f"model-{number}", partial(self._run, heartbeat), on_crash)

    def overdue(self) -> dict[str, float]:
        """By thread, for how many seconds its call has exceeded the time it may take."""
        return {f"model-{n}": beat.overdue for n, beat in enumerate(self._heartbeats)}

    def _run(self, heartbeat: Heartbeat) -> None:
        context = self._make_context()
        longest = 1
        while True:
            room = self._results.wait_for_room()
            # The other threads see the same room, and fill it, too.
            most = max(1, min(longest, room // self._size))
            chunk = self._waiting.take(most, self._size)
            if chunk is None:
                return
            began = time.perf_counter()
            faults = self._work(chunk, context, heartbeat)
            each = (time.perf_counter() - began) / len(chunk.messages)
            longest = max(1, min(_LONGEST_CHUNK, int(_CHUNK_SECONDS / max(each, 1e-9))))
            self._finish(chunk, faults)

    def _work(self, chunk: Chunk, context: Context, heartbeat: Heartbeat) -> list[str]:
        faults: list[str] = []
        for message in chunk.messages:
            chunk.started += 1
            heartbeat.beat(self._timeout)
            fault = self._process(message, context)
            if fault is not None:
                faults.append(fault)
        heartbeat.rest()
        return faults

    def _process(self, message: Message, context: Context) -> str | None:
        """Fill in the message's result; the kind of error if there is none."""
        try:
            payload = self._codec.decode(message.payload)
            context.topic = message.topic
            result = self._model(payload, context)
            if result is not None:
                message.result = self._codec.encode(result)
        except PayloadError as error:
            self._failures.say(error.fault, message, str(error))
            return error.fault
        except BaseException as error:  # the user's code: one message's end, whatever it raises
            self._failures.say(PayloadFault.MODEL, message, _summary(error))
            return PayloadFault.MODEL
        return None

    def _finish(self, chunk: Chunk, faults: list[str]) -> None:
        results = [message for message in chunk.messages if message.result is not None]
        ended = [message for message in chunk.messages if message.result is None]
        self._results.put(chunk.number, results)
        self._waiting.done(chunk)
        self._tally.add("processed", len(chunk.messages))
        if faults:
            self._tally.add_errors(faults)
        if ended:
            self._tally.add("nothing_to_publish", len(ended) - len(faults))
            self._settle(ended)


class FailureLog:
    """Says which messages failed and why: a few of each kind in a while, the others counted."""

    def __init__(self) -> None:
        self._limit = RateLimit(5, 10.0)

    def say(self, fault: PayloadFault, message: Message, reason: str) -> None:
        silent = self._limit.admit(fault)
        if silent is None:
            return
        head = message.payload[:_SHOWN_BYTES]
        more = f" ({silent} more of this kind were not shown)" if silent else ""
        log.error(
            "message failed (%s): topic %s, %d bytes, begins %r: %s%s",
            fault,
            message.topic,
            len(message.payload),
            head,
            reason,
            more,
            extra={"TOPIC": message.topic},
        )


def _summary(error: BaseException) -> str:
    """The error and where in the model it came from; a deep recursion's trace is cut."""
    try:
        text = str(error)
    except BaseException:  # its own __str__ is the user's code, too
        text = "(it can't be shown)"
    lines = traceback.format_exception(error, limit=-5)
    return f"the model raised {type(error).__name__}: {text}\n{''.join(lines).rstrip()}"
