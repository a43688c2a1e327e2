"""What is known about the link to a broker, and how it is said: once per change."""

from __future__ import annotations

import logging
import socket
import time

from pyboot_svc.metrics.snapshot import ConnectionStatus
from pyboot_svc.worker.mqtt.link.opening import NoAnswer, NoWebSocket
from pyboot_svc.worker.mqtt.wire.tls_errors import cut_off_by_tls, explain_tls, is_of_tls

_MOST_REASONS = 20

log = logging.getLogger(__name__)


class StatusReporter:
    """Follows the state of one link and logs its changes, not its attempts."""

    def __init__(self, role: str, address: str) -> None:
        self._name = f"{role} broker {address}"
        self._said: set[str] = set()
        self._refused = False
        self.status = ConnectionStatus(address, "connecting", "", time.time())

    def attempt(self) -> None:
        self.status = self.status._replace(attempts=self.status.attempts + 1)

    def connected(self, doubt: str = "") -> None:
        connects = self.status.connects + 1
        self.status = self.status._replace(
            state="connected", reason=doubt, since=time.time(), connects=connects
        )
        if not self._refused:
            self._said.clear()
            log.info("%s: connected", self._name)

    def doubt(self, reason: str) -> None:
        """While it is up, and stays so; none when it is empty."""
        if reason == self.status.reason:
            return
        self.status = self.status._replace(reason=reason)
        if reason:
            log.warning("%s: %s; other data moves, so it is waited for", self._name, reason)

    def taken_over(self) -> None:
        """By another client, which has the session now."""
        self.status = self.status._replace(takeovers=self.status.takeovers + 1)

    def lost(self, reason: str, *, refused: bool = False) -> None:
        """The link is down; each reason is said once until it is up again.

        A connection behind which the broker has `refused` what it was for was none: the next one
        may end likewise, and is not told of.
        """
        self._refused = refused
        if self.status.state != "unreachable":
            self.status = self.status._replace(state="unreachable", since=time.time(), attempts=0)
        self.status = self.status._replace(reason=reason)
        # A broker's own words may be others each time: that is not said for ever.
        if reason not in self._said and len(self._said) < _MOST_REASONS:
            self._said.add(reason)
            log.warning("%s: %s; retrying", self._name, reason)


def explain(error: Exception, host: str) -> str:
    """Why a connection could not be opened, in a user's words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused (is a broker listening there?)"
    if isinstance(error, socket.gaierror):
        return _explain_lookup(error, host)
    if isinstance(error, UnicodeError):
        return f"unknown host {host}"  # it can't be a name
    if isinstance(error, TimeoutError):
        return str(error) if isinstance(error, NoAnswer) else "no answer"
    if isinstance(error, NoWebSocket):
        return str(error)
    if isinstance(error, ConnectionResetError) or cut_off_by_tls(error):
        return "it ended the handshake: does this port speak TLS, or WebSockets, as configured?"
    if is_of_tls(error):
        return explain_tls(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _explain_lookup(error: socket.gaierror, host: str) -> str:
    if error.errno == socket.EAI_AGAIN:
        return f"the name server did not answer (looking up {host})"
    if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
        return f"unknown host {host}"
    return f"the look-up of {host} failed: {error.strerror}"
