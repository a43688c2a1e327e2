"""What the parts of a connection share: how it is made, what outlives one of them, how it ended."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from pyboot_svc.config import DEFAULT_RESULTS, Broker, ResultOptions
from pyboot_svc.wakeup import Wakeup
from pyboot_svc.worker.heartbeat import Heartbeat
from pyboot_svc.worker.mqtt.interfaces import Session
from pyboot_svc.worker.mqtt.link.ack_timeout import AckTimeout
from pyboot_svc.worker.mqtt.link.status import StatusReporter
from pyboot_svc.worker.mqtt.reactor import Reactor


class TransportOptions(NamedTuple):
    """How a connection carries messages: in bulk or not, how long a read may wait for more, who
    serves it beside its own thread, and how results are published."""

    bulk: bool
    max_linger_us: int
    reactor: Reactor | None = None
    results: ResultOptions = DEFAULT_RESULTS


class Terms(NamedTuple):
    """With whom to connect, as whom, and how."""

    role: str
    broker: Broker
    session: Session
    options: TransportOptions


@dataclass
class Life:
    """What goes on from one connection to the next."""

    status: StatusReporter
    ack_timeout: AckTimeout = field(default_factory=AckTimeout)
    wakeup: Wakeup = field(default_factory=Wakeup)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    stopping: bool = False
    # The broker is to forget the session with the last one (which takes MQTT 5).
    end_session: bool = False


@dataclass
class Ending:
    """How a connection, or an attempt, came to its end.

    `refused`: the broker doesn't do what it is for, and won't for a while. `hurry`: the next
    attempt is to come at once. `taken_over`: another client has the session now.
    """

    reason: str = ""
    refused: bool = False
    hurry: bool = False
    taken_over: bool = False
    # What had been asked to be subscribed to, and not been answered.
    unanswered: str = ""
    # For how many seconds it was up.
    lived: float = -math.inf


class Unlocked:
    """Lets go of a lock that is held, for as long as a `with` lasts."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.release()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.acquire()
