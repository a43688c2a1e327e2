"""What a model's failures look like in the log, and in a dead letter."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable

from pyboot_svc.logs import RateLimit
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.text import printable
from pyboot_svc.worker.messages import Message

_SHOWN_BYTES = 64
# Who calls a model: their lines say nothing of what is wrong with it.
_CALLERS = ("pyboot_svc.worker.", "pyboot_svc.model.", "asyncio.")

_RAISED = re.compile(r"the model raised (\w+): ")

log = logging.getLogger(__name__)


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
            printable(message.topic),
            len(message.payload),
            message.payload[:_SHOWN_BYTES],
            reason,
            more,
            extra={"TOPIC": message.topic},
        )

    def say_tick(self, reason: str) -> None:
        silent = self._limit.admit("tick")
        if silent is not None:
            more = f" ({silent} more were not shown)" if silent else ""
            log.error("the model's tick failed: %s%s", reason, more)

    def say_batch(self, count: int, error: BaseException) -> None:
        if self._limit.admit("batch") is not None:
            log.warning(
                "the model failed on a batch of %d, each gets a call of its own now: %s: %s",
                count,
                type(error).__name__,
                printable(_text(error)),
            )


def exception_in(told: str) -> tuple[str, str]:
    """Type and message of the exception that a `summary` tells of; "" where it tells of none."""
    head, _, _ = told.partition("\n")
    found = _RAISED.match(head)
    return (found[1], head[found.end() :]) if found else ("", head)


def summary(error: BaseException) -> str:
    """The error and where in the model it came from; a deep recursion's trace is cut."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_CALLERS):
        trace = trace.tb_next
    told = traceback.TracebackException(type(error), error, trace, limit=-5)
    is_chained = told.__cause__ is not None or (
        told.__context__ is not None and not told.__suppress_context__
    )
    lines = told.format() if is_chained else told.stack.format()
    return "\n".join([f"the model raised {type(error).__name__}: {_text(error)}", *_joined(lines)])


def _joined(lines: Iterable[str]) -> list[str]:
    text = "".join(lines).rstrip()
    return [text] if text else []


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # its own __str__ is the user's code, too
        return "(it can't be shown)"
