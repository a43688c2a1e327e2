"""A connection beside a worker's: made as that one is, with an id and a session of its own.

It takes nothing away from who runs: no session is taken over, none is left, and whoever subscribes
here gets a copy.
"""

from __future__ import annotations

from secrets import token_hex

from pyboot_svc.config import InstanceConfig
from pyboot_svc.errors import ConfigError
from pyboot_svc.worker.messages import MessageBatch, Sendable
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Handler, Link, Session
from pyboot_svc.worker.mqtt.link.connection import Connection
from pyboot_svc.worker.mqtt.link.life import Life, Terms, TransportOptions
from pyboot_svc.worker.mqtt.link.loop import Loop
from pyboot_svc.worker.mqtt.link.opening import Deadline, Resolver
from pyboot_svc.worker.mqtt.link.status import StatusReporter, explain
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal

# What a broker may send at QoS 1 before it is answered: guests answer nothing.
_WINDOW = 20


class Guest:
    """A handler that is content with whatever comes: guests say what they want to hear of."""

    waiting = False
    full = False

    def on_connected(self, link: Link, session_present: bool, limits: BrokerLimits) -> None: ...
    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None: ...
    def on_unsubscribed(self) -> None: ...
    def on_messages(self, batch: MessageBatch) -> None: ...
    def on_published(
        self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]
    ) -> None: ...

    def on_lost(self, in_flight: list[Sendable]) -> str | None:
        return None

    def on_turn(self) -> None: ...
    def on_try_send(self) -> None: ...
    def wants_turn(self) -> bool:
        return False


class Visit:
    """One connection, until the handler has seen enough and calls `leave`."""

    def __init__(self, config: InstanceConfig, role: str) -> None:
        """`role` is the end that the instance has there, `pre` or `post`."""
        self._terms = _terms(config, role, "check")
        self._life = Life(StatusReporter(role, self._terms.broker.address))

    def leave(self) -> None:
        self._life.stopping = True

    def make(self, handler: Handler, deadline: Deadline) -> str:
        """Connect, and serve `handler`; gives why it ended, nothing when that was by `leave`."""
        try:
            loop = Loop(self._terms, self._life, 1, handler)
            loop.run(loop.open(deadline, Resolver()), deadline)
            return "" if self._life.stopping else loop.ending.reason
        except ConfigError as error:  # of a file that the broker's section names
            return "; ".join(str(problem) for problem in error.problems)
        except Exception as error:  # TCP, TLS and WebSocket fail in many ways
            return explain(error, self._terms.broker.host)
        finally:
            self._life.wakeup.close()


def stay(config: InstanceConfig, handler: Handler) -> Connection:
    """A connection to the pre broker that is opened again when it is lost; not started yet.

    Raises ConfigError for files that can't be used.
    """
    return Connection(_terms(config, "pre", "try"), handler)


def _terms(config: InstanceConfig, role: str, purpose: str) -> Terms:
    edge = config.edge
    endpoint = edge.pre if role == "pre" else edge.post
    # It begins as the worker's: rules may go by that.
    worker = endpoint.broker.client_id_of(config.identity, role)
    client_id = f"{worker}-{purpose}-{token_hex(4)}"
    session = Session(client_id, False, _WINDOW, edge.max_message)
    return Terms(role, endpoint.broker, session, TransportOptions(bulk=True, max_linger_us=0))
