from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.timeouts import default_timeout

from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.sockets.unix import is_listening, open_listener


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.sock"


@pytest.fixture
def live(path: Path) -> Iterator[socket.socket]:
    with open_listener(path) as listener:
        yield listener


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def refusal(path: Path) -> str:
    with pytest.raises(UnavailableError) as caught:
        open_listener(path)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    return str(caught.value)


def test_it_waits_for_who_connects_whatever_timeout_a_model_has_set(path: Path) -> None:
    with default_timeout(2), open_listener(path) as listener:
        assert listener.gettimeout() is None


@pytest.mark.usefixtures("live")
def test_it_listens_in_a_folder_that_it_makes_for_owner_and_group_alone(path: Path) -> None:
    assert connects(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_the_socket_of_a_dead_master_is_taken_over(path: Path) -> None:
    open_listener(path).close()
    assert path.is_socket()
    with open_listener(path):
        assert connects(path)


def test_the_socket_of_a_living_master_is_left_alone(path: Path, live: socket.socket) -> None:
    assert refusal(path) == f"another master is already running: it listens at {path}"
    connection, _ = live.accept()  # the question whether it lives
    connection.close()
    assert connects(path)


def test_a_file_in_the_way_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    assert refusal(path) == f"{path} exists and is not a socket; remove it"
    assert path.read_text() == "precious"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refusal(tmp_path / "file" / "run" / "metrics.sock")
    assert "can't be made: Not a directory" in said
    assert "--run-dir" in said


def test_a_folder_that_cannot_be_written() -> None:
    assert "--run-dir" in refusal(Path("/proc/metrics.sock"))


def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    def path_of(length: int) -> Path:
        return tmp_path / ("é" * 100)[: (length - len(str(tmp_path)) - 1) // 2]

    open_listener(path_of(107)).close()
    assert "longer than 107 bytes" in refusal(path_of(109))


def test_a_socket_of_another_kind_in_the_way(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert "can't be made" in refusal(path)
        assert path.is_socket()


def test_whether_anybody_listens(path: Path) -> None:
    assert not is_listening(path), "there is no socket"
    with open_listener(path):
        assert is_listening(path)
    assert not is_listening(path), "it was left by who died"


def test_one_at_which_too_many_wait_is_listening(path: Path) -> None:
    with ExitStack() as waiting, open_listener(path) as listener:
        listener.listen(0)
        while True:
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        assert is_listening(path)
