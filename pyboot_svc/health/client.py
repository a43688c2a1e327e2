"""Asks a worker at its health socket how it does."""

from __future__ import annotations

import socket
import zlib
from pathlib import Path

from pyboot_svc.health.loading import is_loading
from pyboot_svc.health.record import Health, read_health
from pyboot_svc.identity import InstanceId
from pyboot_svc.sockets.lines import MAX_LINE, decode_line

_FOLDER = "health"
_SUFFIX = ".sock"
# The longest path of a socket is 107 bytes, and a name may be longer.
_LONGEST_NAME = 64


def health_socket(run_dir: Path, identity: InstanceId) -> Path:
    name = str(identity)
    if len(name) > _LONGEST_NAME:
        # No name has a `~` in it.
        name = f"{name[: _LONGEST_NAME - 9]}~{zlib.crc32(name.encode()):08x}"
    return run_dir / _FOLDER / f"{name}{_SUFFIX}"


def health_sockets(run_dir: Path) -> list[Path]:
    """Those of all instances that run, or were killed, in the order of their names."""
    return sorted((run_dir / _FOLDER).glob(f"*{_SUFFIX}"))


def ask_health(path: Path, seconds: float) -> Health:
    """What the worker answers at `path`; one that doesn't is not alive."""
    try:
        return read_health(decode_line(_read_line(path, seconds)))
    except FileNotFoundError:
        reason = f"it isn't running: there is no {path}"
    except ConnectionRefusedError:
        reason = f"it was killed: nobody listens at {path}"
    except TimeoutError:
        if is_loading(path):
            return Health(_instance(path), alive=True, reasons=("the model is being loaded",))
        reason = f"no answer within {seconds:g} s"
    except (OSError, ValueError) as error:
        reason = f"{path}: {error}"
    return Health(_instance(path), reasons=(reason,))


def _instance(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX)


def _read_line(path: Path, seconds: float) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        with connection.makefile("rb") as answer:
            return answer.readline(MAX_LINE)
