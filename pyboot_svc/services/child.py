"""One child process of `pyboot up`, with what it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from pyboot_svc.logs import MARK_VARIABLE
from pyboot_svc.services.log_lines import Said

LONGEST_LINE = 64 * 1024
_READ_BYTES = 64 * 1024
_MARK_BYTES = 16
# As in systemd/edge-model@.service.
_OOM_SCORE = 500


class ChildProcess:
    """A process that was started, until it is closed.

    Its standard input is a pipe that closes when this process ends, however it ends. Its log has
    the mark that it is given in front of each line. Raises OSError if it can't be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.started = time.monotonic()
        self._struck = False
        self._partial_line = b""
        self._mark = os.urandom(_MARK_BYTES).hex()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Explicit: what the C library holds may have been moved by setproctitle.
            env={**os.environ, **environment, MARK_VARIABLE: self._mark},
            # Ctrl-C reaches the whole foreground group: the workers are stopped by us.
            process_group=0,
        )
        self.pid = self._process.pid
        _offer_first(self.pid)
        self.pidfd = os.pidfd_open(self.pid)
        assert self._process.stdout is not None
        self.output: IO[bytes] = self._process.stdout
        os.set_blocking(self.output.fileno(), False)

    def lines(self) -> list[Said] | None:
        """What it has written and was not read yet, line by line; None at the end of its output.

        Raises BlockingIOError while there is nothing.
        """
        data = os.read(self.output.fileno(), _READ_BYTES)
        if not data:
            return None
        *whole, self._partial_line = (self._partial_line + data).split(b"\n")
        lines = [said for line in whole for said in self._told_apart(line)]
        if len(self._partial_line) > LONGEST_LINE:
            lines += self.rest()
        return lines

    def rest(self) -> list[Said]:
        """The line that it has begun; from now on another one."""
        line, self._partial_line = self._partial_line, b""
        return list(self._told_apart(line))

    def _told_apart(self, line: bytes) -> Iterator[Said]:
        """What is printed without an end of line stands in front of the log's next one."""
        printed, mark, logged = line.partition(self._mark.encode())
        if printed:
            yield Said(printed, own=False)
        if mark:
            yield Said(logged, own=True)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def strike(self) -> None:
        """End one that stalls."""
        # Python writes every thread's stack at this one; a second time it has had its chance.
        self.signal(signal.SIGKILL if self._struck else signal.SIGABRT)
        self._struck = True

    def wait(self) -> int:
        """Take its exit code, and end what it has left behind."""
        try:
            # While its zombie still holds the group's id.
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nothing is left
        return self._process.wait()

    def close(self) -> None:
        os.close(self.pidfd)
        self.output.close()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _offer_first(pid: int) -> None:
    """When memory runs out, a model goes before the broker and the master: it loses nothing."""
    file = Path(f"/proc/{pid}/oom_score_adj")
    with suppress(OSError, ValueError):  # it has ended, or this host doesn't let its score be set
        if int(file.read_text()) < _OOM_SCORE:
            file.write_text(str(_OOM_SCORE))


def how_it_ended(code: int) -> str:
    """In words, from an exit code as `subprocess` gives it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
