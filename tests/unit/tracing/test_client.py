"""Who looks at a worker, and what becomes of its trouble."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from pyboot_svc.errors import UnavailableError
from pyboot_svc.tracing.client import watch_messages
from pyboot_svc.tracing.wish import Wish


@contextmanager
def saying(folder: Path, text: bytes) -> Iterator[Mapping[str, Path]]:
    """A worker that says this to whoever comes, and hears nothing."""
    path = folder / "trace.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.shutdown(socket.SHUT_RD)
                connection.sendall(text)

        thread = Thread(target=answer)
        thread.start()
        yield {"mean-1": path}
        thread.join()


def test_who_may_not_look_is_told_so(tmp_path: Path) -> None:
    """It is refused before it could say what it wants."""
    with (
        saying(tmp_path, b'{"error": "not you"}\n') as sockets,
        pytest.raises(UnavailableError, match="mean-1 can't be looked at: not you"),
    ):
        list(watch_messages(sockets, Wish()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", []),
        (b'{"watching": true}\n', []),
        (b'{"watching": true}\n{"time": 1, "error": "its own"}\n{"ti', [{"time": 1}]),
    ],
    ids=["at once", "idle", "amid a line"],
)
def test_a_worker_that_ends(tmp_path: Path, text: bytes, shown: list[dict[str, int]]) -> None:
    with saying(tmp_path, text) as sockets:
        found = [document for _, document in watch_messages(sockets, Wish())]
    assert [{"time": one["time"]} for one in found] == shown


def test_nonsense_is_told(tmp_path: Path) -> None:
    with (
        saying(tmp_path, b"[1]\n") as sockets,
        pytest.raises(UnavailableError, match="mean-1 can't be looked at: "),
    ):
        list(watch_messages(sockets, Wish()))
