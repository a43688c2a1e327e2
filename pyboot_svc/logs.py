"""Log lines: for people on a terminal, as JSON on request, with fields for systemd's journal."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from pyboot_svc.text import block

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
_LONGEST_MESSAGE = 64_000
# What pyboot's loggers are below, and those that models get as `context.logger`.
_OWN = ("pyboot_svc", "model")
# The environment variable by which `pyboot up` gives a process what to put in front of each line of
# its own, and takes off again. It is random: nothing that a model prints, which a publisher may
# have chosen, passes for such a line.
MARK_VARIABLE = "PYBOOT_LOG_MARK"
# sd-daemon(3): how a line of a stream tells its priority to the journal.
_PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


def configure_logging(form: str = "plain", level: str = "info", **fields: str) -> None:
    """Log to standard error, in the form `plain` or `json`, or to the journal if that reads it.

    `fields` go with every message where the form has fields; their names are in capitals.
    """
    root = logging.getLogger()
    root.handlers[:] = [_handler(form, fields)]
    root.setLevel(level.upper())


def hold_logging() -> None:
    """Keep pyboot's own lines coming, whatever a library makes of `logging`, from now on.

    Libraries configure it anew for the whole process (`dictConfig`, `basicConfig(force=True)`), or
    turn it off (`logging.disable`). Called again, it also holds the loggers made since.
    """
    own = [logging.getLogger(name) for name in _OWN]
    for logger in own:
        if not isinstance(logger, _Unshakable):
            logger.handlers[:] = logging.getLogger().handlers
            logger.setLevel(logging.getLogger().level)
            logger.propagate = False
    for name, known in list(logging.Logger.manager.loggerDict.items()):
        if name.partition(".")[0] in _OWN and isinstance(known, logging.Logger):
            known.__class__ = _Unshakable


def say(text: str) -> None:
    """Write to standard error what this process itself has to say beside its log."""
    handlers = logging.getLogger(_OWN[0]).handlers or logging.getLogger().handlers
    own = next((handler for handler in handlers if isinstance(handler, _OwnLines)), None)
    print(text if own is None else own.marked(text), file=sys.stderr)


class _Unshakable(logging.Logger):
    """Not to be disabled by others."""

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None: ...

    def isEnabledFor(self, level: int) -> bool:
        return level >= self.getEffectiveLevel()


def _handler(form: str, fields: dict[str, str]) -> logging.Handler:
    if form == "json":
        return _stream(_JsonFormatter(fields))
    if not journal_reads_stderr():
        return _stream(_LineFormatter(_FORMAT, _TIME_FORMAT))
    try:
        from systemd.journal import JournalHandler
    except ImportError:
        return _stream(_PriorityFormatter("%(message)s"))
    handler: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER="pyboot", **fields)
    handler.setFormatter(_LineFormatter("%(message)s"))
    return handler


def _stream(formatter: logging.Formatter) -> logging.Handler:
    handler = _OwnLines(sys.stderr, os.environ.get(MARK_VARIABLE, ""))
    handler.setFormatter(formatter)
    return handler


class _OwnLines(logging.StreamHandler[TextIO]):
    """Puts a mark in front of each line, for whoever passes them on."""

    def __init__(self, stream: TextIO, mark: str) -> None:
        super().__init__(stream)
        self._mark = mark

    def format(self, record: logging.LogRecord) -> str:
        return self.marked(super().format(record))

    def marked(self, text: str) -> str:
        return "\n".join(f"{self._mark}{line}" for line in text.split("\n"))


def journal_reads_stderr() -> bool:
    """Whether standard error is the very stream that JOURNAL_STREAM tells of (systemd.exec(5))."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


class _LineFormatter(logging.Formatter):
    """One line a record, whatever stands in a topic or a model's error; a traceback is indented."""

    def format(self, record: logging.LogRecord) -> str:
        return block(super().format(record))


class _PriorityFormatter(_LineFormatter):
    """Puts the priority in front of each line, for a journal that is reached by its stream."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, 6)
        lines = super().format(record).split("\n")
        return "\n".join(f"<{priority}>{line}" for line in lines)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("%(message)s")
        self._fields = {name.lower(): value for name, value in fields.items()}

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "message": super().format(record)[:_LONGEST_MESSAGE],
            "logger": record.name,
            **self._fields,
        }
        topic = getattr(record, "TOPIC", None)
        if topic is not None:
            document["topic"] = topic
        return json.dumps(document)


class RateLimit:
    """Lets a few events of each kind through in a period, and counts the rest."""

    def __init__(
        self, most: int, period: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int, int]] = {}

    def admit(self, kind: str) -> int | None:
        """None to keep silent; else how many of the kind were kept silent since the last one."""
        now = self._clock()
        with self._lock:
            since, passed, silent = self._windows.get(kind, (now, 0, 0))
            if now - since >= self._period:
                since, passed = now, 0
            if passed >= self._most:
                self._windows[kind] = (since, passed, silent + 1)
                return None
            self._windows[kind] = (since, passed + 1, 0)
            return silent
