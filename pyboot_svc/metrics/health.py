"""The health socket of a worker: whoever connects is told in one line how it does, and asks so.

For service managers that ask, as those of OpenRC, containers and Kubernetes; systemd is told.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.listener import answer_each, open_listener
from pyboot_svc.metrics.protocol import MAX_LINE, decode_line, encode_line
from pyboot_svc.threads import spawn

_FOLDER = "health"
_SUFFIX = ".sock"
# The longest path of a socket is 107 bytes, and a name may be longer.
_LONGEST_NAME = 64
_SEND_SECONDS = 1.0


def health_socket(run_dir: Path, identity: InstanceId) -> Path:
    name = str(identity)
    if len(name) > _LONGEST_NAME:
        # No name has a `~` in it.
        name = f"{name[: _LONGEST_NAME - 9]}~{zlib.crc32(name.encode()):08x}"
    return run_dir / _FOLDER / f"{name}{_SUFFIX}"


def health_sockets(run_dir: Path) -> list[Path]:
    """Those of all instances that run, or were killed, in the order of their names."""
    return sorted((run_dir / _FOLDER).glob(f"*{_SUFFIX}"))


class HealthServer:
    """Tells each that connects what `judge` gives then, from a thread of its own."""

    def __init__(self, path: Path, judge: Callable[[], Mapping[str, Any]]) -> None:
        """Listens from now on; raises UnavailableError when that can't be done."""
        self._path = path
        self._judge = judge
        listener = open_listener(path, "health", "worker of this instance")
        spawn("health", partial(answer_each, listener, self._answer))

    def close(self) -> None:
        self._path.unlink(missing_ok=True)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_SECONDS)
        connection.sendall(encode_line(self._judge()))


def ask_health(path: Path, seconds: float) -> dict[str, Any]:
    """What the worker answers at `path`; one that doesn't is not alive.

    Its keys: `instance`, `alive` (all its threads make progress), `loaded` (its model is),
    `started` (it was ready once), `ready` (it can work right now), `reasons` (why it is not ready),
    `stalls` (why it is not alive), and `notices`, if a broker grants less than it was asked for.
    """
    try:
        return decode_line(_read_line(path, seconds))
    except FileNotFoundError:
        reason = f"it doesn't run: there is no {path}"
    except ConnectionRefusedError:
        reason = f"it was killed: nobody listens at {path}"
    except TimeoutError:
        reason = f"no answer within {seconds:g} s"
    except (OSError, ValueError) as error:
        reason = f"{path}: {error}"
    name = path.name.removesuffix(_SUFFIX)
    signs = dict.fromkeys(("alive", "loaded", "started", "ready"), False)
    return {"instance": name, **signs, "reasons": [reason], "stalls": []}


def _read_line(path: Path, seconds: float) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        with connection.makefile("rb") as answer:
            return answer.readline(MAX_LINE)
