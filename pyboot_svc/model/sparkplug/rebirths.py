"""Asking edge nodes for their births again (Sparkplug 3.0, section 6.4.22), and not too often."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from pyboot_svc.model.sparkplug.encoder import encode
from pyboot_svc.model.sparkplug.topic import NAMESPACE
from pyboot_svc.text import printable

# Between two requests to one edge node, and to any: after a restart many are asked.
NODE_SECONDS = 10.0
EACH_SECONDS = 0.05
_MOST_NODES = 10_000

log = logging.getLogger(__name__)

# Topic and payload of a command.
Request = Callable[[str, bytes], None]


class NoRebirths:
    """Nobody is asked."""

    on_gaps = False

    def unknown(self, group: str, node: str) -> bool:
        return False

    def gap(self, group: str, node: str) -> None: ...


class Rebirths:
    """Asks by `request`, for these `reasons`: `unknown_alias`, `seq_gap`.

    Several threads may tell it. A birth doesn't make the next request come sooner: one that lacks
    what is asked for would be asked for again and again.
    """

    def __init__(
        self,
        reasons: Collection[str],
        request: Request,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_gaps = "seq_gap" in reasons
        self._on_unknown = "unknown_alias" in reasons
        self._request = request
        self._clock = clock
        self._lock = threading.Lock()
        # When each may be asked again, the first one first.
        self._patient: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._next = float("-inf")

    def unknown(self, group: str, node: str) -> bool:
        """Its data can't be understood; says whether it was asked, now or just before."""
        if self._on_unknown:
            self._ask(group, node)
        return self._on_unknown

    def gap(self, group: str, node: str) -> None:
        """Some of its messages are missing."""
        if self.on_gaps:
            self._ask(group, node)

    def _ask(self, group: str, node: str) -> None:
        key, now = (group, node), self._clock()
        with self._lock:
            while self._patient and next(iter(self._patient.values())) <= now:
                self._patient.popitem(last=False)
            if key in self._patient or now < self._next or len(self._patient) >= _MOST_NODES:
                return  # its next message asks again
            self._patient[key] = now + NODE_SECONDS
            self._next = now + EACH_SECONDS
        log.info("asking the edge node %s of %s for its births", printable(node), printable(group))
        metric = {"name": "Node Control/Rebirth", "datatype": "Boolean", "value": True}
        command = {"timestamp": time.time_ns() // 1_000_000, "metrics": [metric]}
        self._request(f"{NAMESPACE}/{group}/NCMD/{node}", encode(command))
