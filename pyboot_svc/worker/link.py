"""What is known about the link to a broker, and how it is said: once per change."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkStatus:
    """`state` is connecting, connected or unreachable; `since` is the wall clock's seconds."""

    address: str
    state: str
    reason: str
    since: float
    attempts: int = 0
    connects: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Link:
    """Follows the state of one link and logs its changes, not its attempts."""

    def __init__(self, role: str, address: str) -> None:
        self._name = f"{role} broker {address}"
        self.status = LinkStatus(address, "connecting", "", time.time())

    def attempt(self) -> None:
        self.status = replace(self.status, attempts=self.status.attempts + 1)

    def connected(self) -> None:
        connects = self.status.connects + 1
        self.status = replace(
            self.status, state="connected", reason="", since=time.time(), connects=connects
        )
        log.info("%s: connected", self._name)

    def lost(self, reason: str) -> None:
        if (self.status.state, self.status.reason) == ("unreachable", reason):
            return
        self.status = replace(
            self.status, state="unreachable", reason=reason, since=time.time(), attempts=0
        )
        log.warning("%s: %s; trying again until it works", self._name, reason)


def explain(error: Exception, host: str) -> str:
    """Why a connection could not be opened, in a user's words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: does a broker listen there?"
    if isinstance(error, socket.gaierror):
        return f"unknown host {host}"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return str(error) or type(error).__name__
