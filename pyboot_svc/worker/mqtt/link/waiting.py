"""What a connection's loop waits for, and how long."""

from __future__ import annotations

import selectors
import threading
import time
from typing import Any

from pyboot_svc.wakeup import Wakeup
from pyboot_svc.worker.mqtt.link.life import Unlocked
from pyboot_svc.worker.mqtt.link.linger import Linger

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Waiting:
    """Waits for a socket, and to be woken; `turning`, which its caller holds, is free meanwhile."""

    def __init__(
        self, sock: Any, wakeup: Wakeup, turning: threading.Lock, max_linger_us: int
    ) -> None:
        self._sock = sock
        self._wakeup = wakeup
        self._unlocked = Unlocked(turning)
        self._linger = Linger(max_linger_us)
        self._selector = selectors.DefaultSelector()
        self._selector.register(wakeup, _READ)
        self._watched = 0
        self._now = 0.0

    def wait(self, seconds: float, *, to_read: bool, to_write: bool) -> bool:
        """For up to so many seconds; says whether there is something to read."""
        self._watch(_READ * to_read | _WRITE * to_write)
        linger = self._linger.seconds() if self._linger.active and to_read and seconds else 0.0
        with self._unlocked:
            if linger:
                time.sleep(linger)
            began = time.monotonic()
            ready = self._selector.select(seconds)
            self._now = time.monotonic()
            self._linger.waited += self._now - began
        readable = {key.fileobj for key, events in ready if events & _READ}
        if self._wakeup in readable:
            self._wakeup.answer()
        return self._sock in readable

    def have_read(self, count: int, *, full: bool) -> None:
        """So many messages came; `full` says that there were more than a read can take."""
        self._linger.arrivals += count
        if self._now >= self._linger.due:
            self._linger.note(self._now, count, full)

    def close(self) -> None:
        self._selector.close()

    def _watch(self, wanted: int) -> None:
        watched, self._watched = self._watched, wanted
        if watched == wanted:
            return
        if not watched:
            self._selector.register(self._sock, wanted)
        elif wanted:
            self._selector.modify(self._sock, wanted)
        else:
            self._selector.unregister(self._sock)
