"""What a model's failures look like in the log, and in a dead letter."""

from __future__ import annotations

import logging
import os
import re
from traceback import FrameSummary, StackSummary, TracebackException

from pyboot_svc.logs import RateLimit
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.text import counted, printable
from pyboot_svc.worker.messages import Message

_SHOWN_BYTES = 64
# Who calls a model: their lines say nothing of what is wrong with it.
_CALLERS = ("pyboot_svc.worker.", "pyboot_svc.model.", "asyncio.")
# Of a recursion there may be a thousand.
_MOST_FRAMES = 100
# What is shown of them: so many of the model's own, and where it was raised.
_OWN_FRAMES, _LAST_FRAMES = 5, 2
_LIBRARIES = ("<frozen ", os.path.dirname(os.__file__) + os.sep)
# In characters: a message may have a table in it.
_LONGEST_TEXT, _LONGEST_TRACE = 2_000, 16_000

_RAISED = re.compile(r"the model raised (\w+)(?:: |$)")

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
            "message failed (%s): topic %s, %s, begins %r: %s%s",
            fault,
            printable(message.topic),
            counted(len(message.payload), "byte"),
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
                "the model failed on a batch of %d, each gets a call of its own now: %s",
                count,
                _said(error, printable(_text(error))),
            )


def exception_in(told: str) -> tuple[str, str]:
    """Type and message of the exception that a `summary` tells of; "" where it tells of none."""
    head, _, _ = told.partition("\n")
    found = _RAISED.match(head)
    return (found[1], head[found.end() :]) if found else ("", head)


def summary(error: BaseException) -> str:
    """The error and where in the model it came from, without the frames of a library between."""
    text = _said(error, _text(error))
    try:
        lines = _trace(error)
    except Exception:  # its class is the user's code, too
        lines = ""
    return f"the model raised {text}" + (f"\n{lines}" if lines else "")


def _trace(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_CALLERS):
        trace = trace.tb_next
    told = TracebackException(type(error), error, trace, limit=-_MOST_FRAMES)
    for one in _all_of(told):
        one.stack = StackSummary.from_list(_telling(one.stack))
    is_chained = told.__cause__ is not None or (
        told.__context__ is not None and not told.__suppress_context__
    )
    says_more = told.exceptions or told.__notes__ or isinstance(error, SyntaxError)
    lines = told.format() if is_chained or says_more else told.stack.format()
    return _clip("".join(lines).rstrip(), _LONGEST_TRACE)


def _all_of(told: TracebackException) -> list[TracebackException]:
    """With its causes, and those that a group is of."""
    found, waiting = [], [told]
    while waiting:
        one = waiting.pop()
        found.append(one)
        others = (one.__cause__, one.__context__, *(one.exceptions or ()))
        waiting += [other for other in others if other is not None]
    return found


def _telling(frames: StackSummary) -> list[FrameSummary]:
    count = len(frames)
    # Where the model was called is its own wherever it is installed.
    own = [n for n, frame in enumerate(frames) if n == 0 or not _is_library(frame.filename)]
    shown = {*own[-_OWN_FRAMES:], *range(max(count - _LAST_FRAMES, 0), count)}
    return [frames[n] for n in sorted(shown)]


def _is_library(file: str) -> bool:
    folders = file.split(os.sep)
    installed = "site-packages" in folders or "dist-packages" in folders
    # Of what Cython has compiled, the source is named as it was elsewhere.
    compiled = len(folders) > 1 and not os.path.isabs(file)
    return installed or compiled or file.startswith(_LIBRARIES)


def _said(error: BaseException, text: str) -> str:
    """Many have no text: that of an `assert`, KeyboardInterrupt."""
    return f"{_name(error)}: {text}" if text else _name(error)


def _name(error: BaseException) -> str:
    # A class's own class may say something else, or raise.
    return str(type.__dict__["__name__"].__get__(type(error)))


def _text(error: BaseException) -> str:
    try:
        return _clip(str(error), _LONGEST_TEXT)
    except BaseException:  # its own __str__ is the user's code, too
        return "(it can't be shown)"


def _clip(text: str, most: int) -> str:
    """The end counts, too: it says where it happened, or what was expected."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … ({len(text) - most} characters are left out) … {text[-half:]}"
