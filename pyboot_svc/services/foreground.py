"""The service manager of `pyboot up`: child processes, restarted when they die."""

from __future__ import annotations

import logging
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyboot_svc.backoff import Backoff
from pyboot_svc.errors import FINAL_EXIT_CODES, UnavailableError, told
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.base import ServiceState
from pyboot_svc.services.child import ChildProcess, how_it_ended
from pyboot_svc.services.lines import Show, with_names
from pyboot_svc.services.log_lines import Said
from pyboot_svc.services.watchdog import MakeWatchdog, NoWatchdog
from pyboot_svc.threads import end_process, spawn
from pyboot_svc.wakeup import Wakeup

# Of a stop: how long nothing is said of it, and between what is.
_QUIET_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restarts:
    """Seconds: the first and the longest delay of a restart.

    One that ran for `healthy` seconds is started again with the first.
    """

    first: float = 0.5
    longest: float = 30.0
    healthy: float = 60.0


class _Child:
    """One instance: its process if it runs, and when to start it again if not."""

    def __init__(self, identity: InstanceId, backoff: Backoff) -> None:
        self.identity = identity
        self.backoff = backoff
        self.process: ChildProcess | None = None
        self.restart_at: float | None = time.monotonic()
        self.restarts = 0
        self.exit: str | None = None
        self.failed = False
        # Set by other threads: the process is to end, for another one or, leaving, for good.
        self.ending = False
        self.leaving = False
        self.kill_at: float | None = None
        self.gone = threading.Event()

    def state(self) -> ServiceState:
        process = self.process  # once: it may end while another thread looks
        replaced = self.ending and not self.leaving
        if process is not None:
            word = "restarting" if replaced else "running"
            return ServiceState(word, process.pid, self.restarts, self.exit)
        if replaced or self.restart_at is not None:
            state = "restarting"
        else:
            state = "failed" if self.failed else "stopped"
        return ServiceState(state, None, self.restarts, self.exit)


class ForegroundManager:
    """Runs each instance as a child process, watched by one thread.

    `command` gives the argument list of an instance, and `environment` its variables beside ours;
    while it raises OSError or UnavailableError, the instance waits for another try.
    `show` gets each line that one writes; without it, they go to standard error.
    `stop_seconds` is what children have to end before they are killed. One that the watchdog
    strikes is ended, every thread's stack in its output, and started again.
    """

    def __init__(
        self,
        command: Callable[[InstanceId], list[str]],
        stop_seconds: float,
        *,
        environment: Callable[[InstanceId], Mapping[str, str]] = lambda identity: {},
        restarts: Restarts = Restarts(),
        watchdog: MakeWatchdog = NoWatchdog,
        show: Show | None = None,
    ) -> None:
        self._command = command
        self._show = show or with_names()
        self._environment = environment
        self._stop_seconds = stop_seconds
        self._restarts = restarts
        # Replaced as a whole, since other threads read it; under the lock.
        self._children: dict[InstanceId, _Child] = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._wakeup.answer)
        self._stop_at: float | None = None
        self._strikes: deque[tuple[InstanceId, int, str]] = deque()
        self._watchdog = watchdog(self._pids, self._strike)
        self._thread: threading.Thread | None = None

    def start(
        self, instances: Sequence[InstanceId], on_crash: Callable[[], None] = end_process
    ) -> None:
        self.add(instances)
        self._thread = spawn("supervisor", self._run, on_crash)
        self._watchdog.start(on_crash)

    def add(self, instances: Sequence[InstanceId]) -> None:
        """Run these, too."""
        delays = self._restarts
        new = {i: _Child(i, Backoff(delays.first, delays.longest)) for i in instances}
        with self._lock:
            self._children = {**self._children, **new}
        self._wakeup.call()

    def restart(self, instances: Sequence[InstanceId]) -> None:
        """Begin to replace their processes by new ones, or to start those that have given up."""
        for identity in instances:
            self._children[identity].ending = True
        self._wakeup.call()

    def remove(self, instances: Sequence[InstanceId]) -> None:
        """Stop these for good, and wait until they have ended."""
        leaving = [self._children[identity] for identity in instances]
        for child in leaving:
            child.leaving = child.ending = True
        self._wakeup.call()
        for child in leaving:
            child.gone.wait()

    def stop(self) -> None:
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
            self._end_asked()
            self._start_due()
            self._wait(self._next_turn())
        for child in self._children.values():
            child.restart_at = None
        self._signal_all(signal.SIGTERM)
        self._wait_for_ends(self._stop_at)
        self._signal_all(signal.SIGKILL)
        while self._running():
            self._wait(None)
        for child in self._children.values():
            child.ending = False
            child.gone.set()

    def _wait(self, until: float | None) -> None:
        timeout = None if until is None else max(until - time.monotonic(), 0)
        for key, _ in self._selector.select(timeout):
            key.data()

    def _wait_for_ends(self, due: float) -> None:
        """Each has to finish what it has in hand; whoever waits for them sees how far they are."""
        total = left = len(self._running())
        shown_at = time.monotonic() + _QUIET_SECONDS
        while (running := len(self._running())) and (now := time.monotonic()) < due:
            if now >= shown_at:
                if running < left:
                    log.info("stopping: %d of %d instances have ended", total - running, total)
                    left = running
                shown_at = now + _QUIET_SECONDS
            self._wait(min(due, shown_at))

    def _running(self) -> list[ChildProcess]:
        children = [child.process for child in self._children.values()]
        return [process for process in children if process is not None]

    def _next_turn(self) -> float | None:
        times = [time for c in self._children.values() for time in (c.restart_at, c.kill_at)]
        return min((time for time in times if time is not None), default=None)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.restart_at is not None and child.restart_at <= now:
                self._launch(child)

    def _end_stalled(self) -> None:
        while self._strikes:
            identity, pid, reason = self._strikes.popleft()
            child = self._children.get(identity)
            process = child.process if child is not None else None
            if process is not None and process.pid == pid:  # it may have ended meanwhile
                log.critical("%s: stalled: %s; ending it", identity, reason)
                process.strike()

    def _end_asked(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if not child.ending:
                continue
            if child.process is None:
                self._ended_as_asked(child)
            elif child.kill_at is None or child.kill_at <= now:
                number = signal.SIGTERM if child.kill_at is None else signal.SIGKILL
                child.process.signal(number)
                child.kill_at = now + self._stop_seconds

    def _ended_as_asked(self, child: _Child) -> None:
        child.kill_at = None
        if child.leaving:
            child.restart_at = None
            with self._lock:
                rest = {i: other for i, other in self._children.items() if other is not child}
                self._children = rest
            child.gone.set()
            return
        child.failed = False
        child.backoff.reset()
        child.restart_at = time.monotonic()
        child.ending = False  # last: until then, it counts as on its way

    def _launch(self, child: _Child) -> None:
        try:
            command = self._command(child.identity)
            process = ChildProcess(command, self._environment(child.identity))
        except (OSError, UnavailableError) as error:
            self._tell_once(child, f"can't be started: {told(error)}")
            self._schedule(child)
            return
        child.process, child.restart_at = process, None
        self._selector.register(
            process.pidfd, selectors.EVENT_READ, lambda: self._reap(child, process)
        )
        self._selector.register(
            process.output, selectors.EVENT_READ, lambda: self._forward(child, process)
        )

    def _tell_once(self, child: _Child, trouble: str) -> None:
        if child.exit != trouble:
            child.exit = trouble
            log.error("%s: %s", child.identity, trouble)

    def _reap(self, child: _Child, process: ChildProcess) -> None:
        code = process.wait()
        while self._forward(child, process):
            pass
        self._print(child, process.rest())
        self._selector.unregister(process.pidfd)
        self._unwatch_output(process)
        process.close()
        child.exit = how_it_ended(code)
        if self._stop_at is None and not child.ending:
            self._decide(child, code, time.monotonic() - process.started)
        child.process = None  # last: until the next step is decided, it counts as running

    def _decide(self, child: _Child, code: int, ran_for: float) -> None:
        if code in FINAL_EXIT_CODES:
            child.failed = True
            log.error(
                "%s: %s; not restarting: it would end the same way", child.identity, child.exit
            )
            return
        if ran_for >= self._restarts.healthy:
            child.backoff.reset()
        delay = self._schedule(child)
        log.warning("%s: %s; restarting in %.1f s", child.identity, child.exit, delay)

    def _schedule(self, child: _Child) -> float:
        delay = child.backoff.next()
        child.restarts += 1
        child.restart_at = time.monotonic() + delay
        return delay

    def _forward(self, child: _Child, process: ChildProcess) -> bool:
        """Print what it has written so far; False when there is nothing more now."""
        if process.output.closed:
            return False  # its end was seen in the same turn, and took care of the rest
        try:
            lines = process.lines()
        except BlockingIOError:
            return False
        if lines is None:
            self._unwatch_output(process)
            return False
        self._print(child, lines)
        return True

    def _unwatch_output(self, process: ChildProcess) -> None:
        if process.output in self._selector.get_map():
            self._selector.unregister(process.output)

    def _print(self, child: _Child, lines: Sequence[Said]) -> None:
        for line in lines:
            self._show(child.identity, line)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._running():
            process.signal(number)
