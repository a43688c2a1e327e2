"""The service manager of `pyboot up`: child processes, restarted when they die."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pyboot_svc.backoff import Backoff
from pyboot_svc.errors import FINAL_EXIT_CODES
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.base import ServiceState
from pyboot_svc.services.watchdog import Watchdog
from pyboot_svc.text import printable
from pyboot_svc.threads import spawn
from pyboot_svc.wakeup import Wakeup

_RETRY_SECONDS = (0.5, 30.0)
_HEALTHY_SECONDS = 60.0
_READ_BYTES = 64 * 1024
_LONGEST_LINE = 64 * 1024

log = logging.getLogger(__name__)


class _Child:
    """One instance: its process if it runs, and when to start it again if not."""

    def __init__(self, identity: InstanceId, backoff: Backoff) -> None:
        self.identity = identity
        self.backoff = backoff
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.started = 0.0
        self.restart_at: float | None = None
        self.restarts = 0
        self.exit: str | None = None
        self.failed = False
        self.struck = False
        self.partial_line = b""

    def state(self) -> ServiceState:
        process = self.process  # once: it may end while another thread looks
        if process is not None:
            state = "running"
        elif self.restart_at is not None:
            state = "restarting"
        else:
            state = "failed" if self.failed else "stopped"
        return ServiceState(state, process.pid if process else None, self.restarts, self.exit)


class ForegroundManager:
    """Runs each instance as a child process, watched by one thread.

    `command` gives the argument list of an instance, and `environment` its variables beside ours.
    A child's standard input is a pipe that closes when this process ends, however it ends; its
    output comes out at `output` (standard error), each line with the instance's name in front.
    `stop_seconds` is what children have to end before they are killed.
    One that makes no progress for `watchdog_seconds`, as it says at its health socket (`health`) or
    by its silence, is ended, every thread's stack in its output, and started again.
    `retry_seconds` are the first and the longest delay of a restart; one that ran for
    `healthy_seconds` is started again with the first.
    """

    def __init__(
        self,
        command: Callable[[InstanceId], list[str]],
        stop_seconds: float,
        retry_seconds: tuple[float, float] = _RETRY_SECONDS,
        healthy_seconds: float = _HEALTHY_SECONDS,
        environment: Callable[[InstanceId], Mapping[str, str]] = lambda identity: {},
        health: Callable[[InstanceId], Path] | None = None,
        watchdog_seconds: float = 30.0,
        output: TextIO | None = None,
    ) -> None:
        self._command = command
        self._output = output
        self._environment = environment
        self._stop_seconds = stop_seconds
        self._retry_seconds = retry_seconds
        self._healthy_seconds = healthy_seconds
        self._children: dict[InstanceId, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._wakeup.answer)
        self._stop_at: float | None = None
        self._strikes: deque[tuple[InstanceId, int, str]] = deque()
        self._watchdog: Watchdog | None = None
        if health is not None and watchdog_seconds > 0:
            self._watchdog = Watchdog(health, watchdog_seconds, self._pids, self._strike)
        self._thread: threading.Thread | None = None

    def start(
        self, instances: Sequence[InstanceId], on_crash: Callable[[], None] | None = None
    ) -> None:
        for identity in instances:
            child = _Child(identity, Backoff(*self._retry_seconds))
            child.restart_at = time.monotonic()
            self._children[identity] = child
        self._thread = spawn("supervisor", self._run, on_crash)
        if self._watchdog is not None:
            self._watchdog.start(on_crash)

    def stop(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
        self._stop_at = time.monotonic() + self._stop_seconds
        self._wakeup.call()
        if self._thread is not None:
            self._thread.join()
        self._selector.close()
        self._wakeup.close()

    def states(self) -> dict[InstanceId, ServiceState]:
        return {identity: child.state() for identity, child in self._children.items()}

    # For the watchdog's thread:

    def _pids(self) -> dict[InstanceId, int]:
        pids = {identity: state.pid for identity, state in self.states().items()}
        return {identity: pid for identity, pid in pids.items() if pid is not None}

    def _strike(self, identity: InstanceId, pid: int, reason: str) -> None:
        self._strikes.append((identity, pid, reason))
        self._wakeup.call()

    # The thread:

    def _run(self) -> None:
        while self._stop_at is None:
            self._end_stalled()
            self._start_due()
            self._wait(self._next_start())
        for child in self._children.values():
            child.restart_at = None
        self._signal_all(signal.SIGTERM)
        while self._running() and time.monotonic() < self._stop_at:
            self._wait(self._stop_at)
        self._signal_all(signal.SIGKILL)
        while self._running():
            self._wait(None)

    def _wait(self, until: float | None) -> None:
        timeout = None if until is None else max(until - time.monotonic(), 0)
        for key, _ in self._selector.select(timeout):
            key.data()

    def _running(self) -> list[_Child]:
        return [child for child in self._children.values() if child.process is not None]

    def _next_start(self) -> float | None:
        due = [c.restart_at for c in self._children.values() if c.restart_at is not None]
        return min(due, default=None)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.restart_at is not None and child.restart_at <= now:
                self._launch(child)

    def _end_stalled(self) -> None:
        while self._strikes:
            identity, pid, reason = self._strikes.popleft()
            child = self._children[identity]
            if child.process is None or child.process.pid != pid:
                continue  # it has ended meanwhile
            log.critical("%s: stalled: %s; ending it", identity, reason)
            # Python writes every thread's stack at this one; a second time it has had its chance.
            child.process.send_signal(signal.SIGKILL if child.struck else signal.SIGABRT)
            child.struck = True

    def _launch(self, child: _Child) -> None:
        child.started = time.monotonic()
        child.struck = False
        try:
            child.process = subprocess.Popen(
                self._command(child.identity),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Explicit: what the C library holds may have been moved by setproctitle.
                env={**os.environ, **self._environment(child.identity)},
                # Ctrl-C reaches the whole foreground group: the workers are stopped by us.
                process_group=0,
            )
        except OSError as error:
            log.error("%s: can't be started: %s", child.identity, error)
            self._schedule(child)
            return
        child.restart_at = None
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        child.pidfd = os.pidfd_open(child.process.pid)
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._reap(child))
        self._selector.register(
            child.process.stdout, selectors.EVENT_READ, lambda: self._forward(child)
        )

    def _reap(self, child: _Child) -> None:
        process = child.process
        assert process is not None
        assert process.stdout is not None
        assert process.stdin is not None
        self._kill_group(process.pid)
        code = process.wait()
        while self._forward(child):
            pass
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        self._unwatch(process.stdout)
        self._print(child, child.partial_line)
        child.partial_line = b""
        process.stdout.close()
        process.stdin.close()
        child.exit = _how_it_ended(code)
        if self._stop_at is None:
            self._decide(child, code)
        child.process = None  # last: until the next step is decided, it counts as running

    def _decide(self, child: _Child, code: int) -> None:
        if code in FINAL_EXIT_CODES:
            child.failed = True
            log.error(
                "%s: %s; not restarting: it would end the same way", child.identity, child.exit
            )
            return
        if time.monotonic() - child.started >= self._healthy_seconds:
            child.backoff.reset()
        delay = self._schedule(child)
        log.warning("%s: %s; restarting in %.1f s", child.identity, child.exit, delay)

    def _schedule(self, child: _Child) -> float:
        delay = child.backoff.next()
        child.restarts += 1
        child.restart_at = time.monotonic() + delay
        return delay

    def _forward(self, child: _Child) -> bool:
        """Print what the child has written so far; False when there is nothing more now."""
        if child.process is None:
            return False  # its end was seen in the same turn, and took care of the rest
        assert child.process.stdout is not None
        try:
            data = os.read(child.process.stdout.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._unwatch(child.process.stdout)
            return False
        *lines, child.partial_line = (child.partial_line + data).split(b"\n")
        for line in lines:
            self._print(child, line)
        if len(child.partial_line) > _LONGEST_LINE:
            self._print(child, child.partial_line)
            child.partial_line = b""
        return True

    def _unwatch(self, stream: Any) -> None:
        if stream in self._selector.get_map():
            self._selector.unregister(stream)

    def _print(self, child: _Child, line: bytes) -> None:
        if line:
            said = line.decode("utf-8", "replace").removesuffix("\r")
            text = printable(said, 2 * _LONGEST_LINE, lines=True)  # of which it has one
            try:
                print(f"{child.identity} | {text}", file=self._output or sys.stderr, flush=True)
            except OSError:
                pass  # whoever read our output is gone; the workers needn't go with it

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._running():
            assert child.process is not None
            child.process.send_signal(number)

    def _kill_group(self, pid: int) -> None:
        """End what a dead child has left behind, while its zombie still holds the group's id."""
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nothing is left


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
