"""The health socket: who listens there, and what is heard of one that doesn't."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from support.locked import locked
from support.poll import until

from pyboot_svc.errors import UnavailableError
from pyboot_svc.health.client import ask_health, folder_of, health_socket, health_sockets
from pyboot_svc.health.loading import is_loading
from pyboot_svc.health.record import Health, read_health
from pyboot_svc.health.server import HealthServer
from pyboot_svc.identity import InstanceId
from pyboot_svc.threads import spawn

ANSWER = Health("mean-1", alive=True, started=True, reasons=("pre broker: \u00fc",))
MEAN = InstanceId("mean", 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return health_socket(tmp_path, MEAN)


@pytest.fixture
def server(path: Path) -> Iterator[HealthServer]:
    serving = HealthServer(path, lambda: ANSWER)
    yield serving
    serving.close()


def reason(answer: Health) -> str:
    """Of what has given no answer of its own."""
    (text,) = answer.reasons
    assert answer == Health("mean-1", reasons=(text,))
    return text


@pytest.mark.usefixtures("server")
def test_everyone_who_asks_is_told(path: Path) -> None:
    assert [ask_health(path, 5) for _ in range(3)] == [ANSWER] * 3


@pytest.mark.usefixtures("server")
def test_it_is_one_line_of_json_and_then_the_end(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        with connection.makefile("rb") as stream:
            (line,) = stream.readlines()
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "instance": "mean-1",
        "alive": True,
        "loaded": False,
        "started": True,
        "ready": False,
        "reasons": ["pre broker: \u00fc"],
        "stalls": [],
    }


@pytest.mark.usefixtures("server")
def test_owner_and_group_alone_may_ask(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.usefixtures("server")
def test_who_hangs_up_at_once_does_no_harm(path: Path) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
    assert ask_health(path, 5) == ANSWER


def test_no_file_means_that_it_does_not_run(path: Path) -> None:
    assert reason(ask_health(path, 5)) == f"it isn't running: there is no {path}"


def test_a_closed_server_leaves_no_file(path: Path, server: HealthServer) -> None:
    server.close()
    assert not path.exists()
    server.close()


def test_a_socket_that_is_removed_is_made_again() -> None:
    with TemporaryDirectory() as name:
        path = health_socket(Path(name, "run"), MEAN)
        server = HealthServer(path, lambda: ANSWER)
        for place in (path.parents[2], path.parent):
            shutil.rmtree(place)
            until(lambda: ask_health(path, 5) == ANSWER, "it answers again")
        server.close()
        assert not path.exists()


def test_what_cannot_be_made_again_is_made_later(caplog: pytest.LogCaptureFixture) -> None:
    with TemporaryDirectory() as name, caplog.at_level("DEBUG", "pyboot_svc.health.server"):
        path = health_socket(Path(name), MEAN)
        server = HealthServer(path, lambda: ANSWER)
        shutil.rmtree(path.parent)
        path.parent.write_text("in its way")
        until(lambda: "the health socket" in caplog.text, "it has tried")
        path.parent.unlink()
        until(lambda: ask_health(path, 5) == ANSWER, "it answers again")
        server.close()


def test_a_closed_server_makes_nothing_again() -> None:
    with TemporaryDirectory() as name:
        path = health_socket(Path(name), MEAN)
        server = HealthServer(path, lambda: ANSWER)
        server.close()
        again = HealthServer(path, lambda: ANSWER._replace(ready=True))
        shutil.rmtree(path.parent)
        until(lambda: ask_health(path, 5).ready, "the one that is open answers")
        again.close()


def test_a_socket_without_a_listener_means_that_it_was_killed(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert reason(ask_health(path, 5)) == f"it was killed: nobody listens at {path}"


def test_the_socket_of_one_that_was_killed_is_replaced(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = HealthServer(path, lambda: ANSWER)
    assert ask_health(path, 5) == ANSWER
    server.close()


@pytest.mark.usefixtures("server")
def test_the_socket_of_one_that_runs_is_left_alone(path: Path) -> None:
    with pytest.raises(UnavailableError, match="another worker of this instance is already"):
        HealthServer(path, lambda: ANSWER)
    assert ask_health(path, 5) == ANSWER


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("")
    with pytest.raises(UnavailableError, match=r"the health socket .* can't be made"):
        HealthServer(health_socket(tmp_path, MEAN), lambda: ANSWER)


def test_one_that_does_not_answer_is_not_alive(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen()
        assert reason(ask_health(path, 0.1)) == "no answer within 0.1 s"


@pytest.mark.parametrize("nonsense", [b"", b"\n", b"[1]\n", b'{"alive": tr', b"x" * 70_000])
def test_nonsense_is_no_answer(path: Path, nonsense: bytes) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(nonsense)

        spawn("nonsense", serve)
        assert reason(ask_health(path, 5)) == f"{path}: a line that is not a JSON object"


def test_one_that_drips_its_answer_has_no_more_time_for_it(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                while True:
                    connection.sendall(b"{")
                    time.sleep(0.01)

        spawn("drip", serve)
        assert reason(ask_health(path, 0.3)) == "no answer within 0.3 s"


def test_one_that_answers_for_another_is_not_believed(tmp_path: Path) -> None:
    path = health_socket(tmp_path, InstanceId("rival", 1))
    server = HealthServer(path, lambda: ANSWER)
    answer = ask_health(path, 5)
    assert (answer.instance, answer.alive) == ("rival-1", False)
    assert "it answers for another instance" in answer.trouble
    server.close()


@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_what_is_no_socket_is_neither_followed_nor_read(path: Path, kind: str) -> None:
    """Its folder is a worker's, and who asks may be root."""
    path.parent.mkdir(parents=True)
    server = HealthServer(path.with_name("real"), lambda: ANSWER)
    if kind == "link":
        path.symlink_to(path.with_name("real"))
    elif kind == "file":
        path.write_text("{}")
    else:
        os.mkfifo(path)
    answer = ask_health(path, 5)
    assert not answer.alive
    assert "it is no socket" in reason(answer)
    server.close()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_mark_that_leads_elsewhere_is_none(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True)
    mark = path.with_suffix(".loading")
    if kind == "link":
        path.with_name("real").write_text(str(time.monotonic()))
        mark.symlink_to("real")
    else:
        os.mkfifo(mark)
    assert not is_loading(path)


def test_what_is_asked_for_in_vain_is_shown_only_when_there_is_any() -> None:
    less = Health("mean-1", alive=True, notices=("pre broker: grants QoS 0",))
    assert less.document()["notices"] == ["pre broker: grants QoS 0"]
    assert read_health(less.document()).notices == ("pre broker: grants QoS 0",)
    assert "notices" not in ANSWER.document()


def test_what_a_model_answers_in_its_workers_stead_steers_no_terminal() -> None:
    answer = read_health({**ANSWER.document(), "reasons": ["\x1b[2J", "x" * 100_000]})
    assert answer.reasons[0] == r"\x1b[2J"
    assert len(answer.trouble) < 5000


def test_why_it_is_not_well_is_one_text() -> None:
    assert Health("mean-1", reasons=("a",), stalls=("b", "c")).trouble == "b; c; a"
    assert Health("mean-1").trouble == ""


def test_what_an_answer_lacks_is_not_so() -> None:
    answer = {"instance": "mean-1", "alive": True, "more": 1}
    assert read_health(answer) == Health("mean-1", alive=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"instance": None},
        {"instance": 3},
        {"alive": "yes"},
        {"ready": 1},
        {"loaded": None},
        {"reasons": "a"},
        {"stalls": [1]},
        {"notices": {}},
    ],
)
def test_an_answer_of_another_make_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="doesn't say how it does"):
        read_health({**ANSWER.document(), **wrong})


def test_a_long_name_still_has_a_path_of_its_own() -> None:
    folder = Path("/run/pyboot")
    longest = [health_socket(folder, InstanceId("m" * 200, number)) for number in (1, 2)]
    assert longest[0] != longest[1]
    assert all(len(str(path)) <= 107 for path in longest)
    assert health_socket(folder, MEAN) == folder / "workers" / "mean-1" / "health.sock"


def test_of_one_that_may_not_be_asked_nothing_is_known(path: Path, server: HealthServer) -> None:
    with locked(path.parent):
        answer = ask_health(path, 5)
    assert (answer.unasked, answer.alive) == (True, False)
    why = f"it can't be asked: {path}: Permission denied; try as root (sudo)"
    assert answer.reasons == (why,)
    assert not ask_health(path, 5).unasked


def test_sockets_that_may_not_be_seen_are_listed_or_said_to_be_hidden(open_folder: Path) -> None:
    own = health_socket(open_folder, MEAN).parent
    own.mkdir(parents=True)
    with locked(own):
        assert [folder_of(path) for path in health_sockets(open_folder)] == ["mean-1"]
    assert health_sockets(open_folder) == []
    said = r"workers can't be read: Permission denied; try as root \(sudo\)$"
    with locked(own.parent), pytest.raises(UnavailableError, match=said):
        health_sockets(open_folder)


def test_sockets_are_listed_by_name(tmp_path: Path) -> None:
    assert health_sockets(tmp_path) == []
    servers = [
        HealthServer(health_socket(tmp_path, InstanceId(name, 1)), lambda: ANSWER) for name in "ba"
    ]
    assert [folder_of(path) for path in health_sockets(tmp_path)] == ["a-1", "b-1"]
    for server in servers:
        server.close()
