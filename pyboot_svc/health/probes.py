"""A worker's health over HTTP, for whoever can't ask at its health socket, as Kubernetes' probes.

A thread of its own, which sleeps until somebody asks: it costs a worker next to nothing, and
whoever connects without asking keeps no probe waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyboot_svc.address import Address
from pyboot_svc.health.record import Health
from pyboot_svc.sockets.gate import Bounds, Gate, Visit
from pyboot_svc.sockets.http import request_line, response
from pyboot_svc.sockets.tcp import listen_tcp

# Which sign of health stands at which path.
SIGNS: Mapping[str, Callable[[Health], bool]] = {
    "/startz": lambda health: health.loaded,
    "/readyz": lambda health: health.ready,
    "/healthz": lambda health: health.alive,
}
_BOUNDS = Bounds(
    connections=64, peer=32, reserve=8, head_seconds=1.0, seconds=5.0, head_bytes=8 * 1024
)


class ProbeServer:
    """Answers 200 when the sign is there, else 503; the body is all that `judge` gives."""

    def __init__(self, address: Address, judge: Callable[[], Health]) -> None:
        """Listens from now on; raises UnavailableError when that can't be done."""
        self._judge = judge
        listener = listen_tcp(address, "--probes-listen")
        Gate("probes", [listener], self._serve, _BOUNDS).start()

    def _serve(self, visit: Visit) -> None:
        method, path = request_line(visit.head)
        visit.reply(response(*self._answer(method, path), method=method))

    def _answer(self, method: bytes, path: str) -> tuple[str, Mapping[str, object]]:
        if method not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", {"error": "only GET and HEAD"}
        if path not in SIGNS:
            return "404 Not Found", {"error": f"there are {', '.join(SIGNS)}"}
        health = self._judge()
        well = SIGNS[path](health)
        return "200 OK" if well else "503 Service Unavailable", health.document()
