"""Attacks on reports over a network: who listens in, stands in between, or pretends."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.app import Up, run_pyboot
from support.broker import free_port
from support.certificates import Authority
from support.poll import until

from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.metrics.tokens import read_token, token_file
from pyboot_svc.services.tokens import issue_tokens
from pyboot_svc.sockets.tls import TlsFailure, connect_tls

GOOD, BAD = InstanceId("good", 1), InstanceId("bad", 1)
HOST = "127.0.0.1"
UNTRUSTED = "no TLS, or a certificate that isn't trusted"
Report = Callable[..., Reporter]


class Plant:
    """Two authorities, and folders with what one end has of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0
        folder.mkdir()
        self.own = Authority(folder, "own")
        (folder / "elsewhere").mkdir()
        self.other = Authority(folder / "elsewhere", "other")

    def end(
        self,
        trusts: Authority | None,
        shows: Authority | None = None,
        name: str = "x",
        host: str = f"IP:{HOST}",
    ) -> Path:
        self.made += 1
        end = self.folder / f"end-{self.made}"
        end.mkdir()
        self.fill(end, trusts, shows, name, host)
        return end

    def fill(
        self,
        end: Path,
        trusts: Authority | None,
        shows: Authority | None,
        name: str = "x",
        host: str = f"IP:{HOST}",
    ) -> None:
        """Whole files take the place of those that were there."""
        if trusts is not None:
            shutil.copy(trusts.ca, end / "new")
            (end / "new").replace(end / "ca.crt")
        if shows is not None:
            made = shows.issue(name, host)
            made.key.replace(end / "tls.key")
            made.cert.replace(end / "tls.crt")


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path / "plant")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def master_end(plant: Plant) -> Path:
    return plant.end(None, plant.own)


@pytest.fixture
def start(start_master: Callable[..., Up], tmp_path: Path, port: int) -> Callable[[Path], Up]:
    """Starts a master that takes reports at the port, secured; its instances have tokens."""

    def begin(end: Path) -> Up:
        issue_tokens(tmp_path / "run", [GOOD, BAD])
        return start_master("--reports-listen", f"{HOST}:{port}", "--reports-tls", str(end))

    return begin


@pytest.fixture
def report(tmp_path: Path, port: int) -> Iterator[Report]:
    """Reports as a worker does, with its token."""
    with ExitStack() as stack:

        def begin(
            identity: InstanceId, end: Path | None, token: InstanceId | None = None
        ) -> Reporter:
            def shown() -> str:
                return read_token(token_file(tmp_path / "run", token)) if token else ""

            figures = {"pre_queue": 0, "post_queue": 0}
            reporter = Reporter((HOST, port), str(identity), lambda: figures, shown, tls=end)
            reporter.start()
            stack.callback(reporter.stop)
            return reporter

        yield begin


def is_there(master: Up, instance: InstanceId) -> None:
    until(lambda: master.instance(str(instance))["state"] not in ("absent",), "it reports")


def refused(master: Up) -> dict[str, int]:
    found: dict[str, int] = master.get("/api/instances")[1]["refused_connections"]
    return found


def test_a_worker_shows_its_token_to_whom_it_trusts(
    start: Callable[[Path], Up], master_end: Path, plant: Plant, report: Report
) -> None:
    master = start(master_end)
    report(GOOD, plant.end(plant.own), GOOD)
    is_there(master, GOOD)
    report(BAD, plant.end(plant.own), GOOD)
    until(lambda: refused(master), "a token isn't good for another")
    assert master.instance("bad-1")["state"] == "absent"


@pytest.mark.parametrize("false", ["other authority", "other host", "no TLS"])
def test_a_false_master_is_shown_nothing(
    plant: Plant, report: Report, port: int, false: str, tmp_path: Path
) -> None:
    """Who stands in between sees neither token nor figures."""
    issue_tokens(tmp_path / "run", [GOOD])
    authority = plant.other if false == "other authority" else plant.own
    end = plant.end(None, authority, host="IP:127.0.0.2" if false == "other host" else f"IP:{HOST}")
    seen: list[bytes] = []
    with socket.create_server((HOST, port)) as listener:
        listener.settimeout(20)
        report(GOOD, plant.end(plant.own), GOOD)
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                try:
                    seen.append(overhear(connection, None if false == "no TLS" else end))
                except OSError:
                    seen.append(b"")
    token = read_token(token_file(tmp_path / "run", GOOD)).encode()
    assert len(seen) == 3
    assert not any(token in data or b"good-1" in data for data in seen)


def overhear(connection: socket.socket, end: Path | None) -> bytes:
    if end is None:
        connection.sendall(b"?\n")
        return connection.recv(4096)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(end / "tls.crt", end / "tls.key")
    with context.wrap_socket(connection, server_side=True) as secured:
        return secured.recv(4096)


def test_nobody_is_taken_without_tls(
    start: Callable[[Path], Up], master_end: Path, port: int, tmp_path: Path
) -> None:
    master = start(master_end)
    token = read_token(token_file(tmp_path / "run", GOOD))
    hello = json.dumps({"instance": "good-1", "pid": 1, "token": token}).encode() + b"\n"
    with socket.create_connection((HOST, port), 20) as plain:
        plain.sendall(hello)
        assert ended(plain)
    assert refused(master) == {UNTRUSTED: 1}
    assert master.instance("good-1")["state"] == "absent"


def ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_certificate_stands_for_its_own_instance_alone(
    start: Callable[[Path], Up], plant: Plant, report: Report
) -> None:
    master = start(plant.end(plant.own, plant.own))
    report(BAD, plant.end(plant.own, plant.own, "good-1", "DNS:good-1"))
    until(lambda: refused(master).get("a hello without a token"), "it isn't good for another")
    report(BAD, plant.end(plant.own, plant.other, "bad-1", "DNS:bad-1"))
    until(lambda: refused(master).get(UNTRUSTED), "one of another authority isn't taken")
    assert master.instance("bad-1")["state"] == "absent"
    report(GOOD, plant.end(plant.own, plant.own, "good-1", "DNS:else"))
    is_there(master, GOOD)


def test_where_certificates_count_nobody_is_taken_without_anything(
    start_master: Callable[..., Up], plant: Plant, report: Report, port: int
) -> None:
    """Though there are no tokens."""
    end = plant.end(plant.own, plant.own)
    master = start_master("--reports-listen", f"{HOST}:{port}", "--reports-tls", str(end))
    report(GOOD, plant.end(plant.own))
    until(
        lambda: refused(master).get("a hello without the instance's certificate"), "it is refused"
    )


def test_certificates_that_change_are_read_anew(
    start: Callable[[Path], Up], plant: Plant, report: Report, master_end: Path, port: int
) -> None:
    """By both ends, without a restart."""
    master = start(master_end)
    report(GOOD, plant.end(plant.own), GOOD)
    is_there(master, GOOD)
    end = plant.end(plant.other)
    report(BAD, end, BAD)
    until(lambda: refused(master).get(UNTRUSTED), "it doesn't trust the master")
    plant.fill(end, plant.own, None)
    is_there(master, BAD)
    plant.fill(master_end, None, plant.other)
    end = plant.end(plant.other)
    until(lambda: is_trusted(port, end), "the master shows the new one")
    master.wait_log("--reports-tls: read ")
    assert master.instance("good-1")["state"] != "absent"


def is_trusted(port: int, end: Path) -> bool:
    try:
        connect_tls((HOST, port), end).close()
    except TlsFailure:
        return False
    return True


def test_those_who_never_end_their_handshake_keep_no_worker_out(
    start: Callable[[Path], Up], master_end: Path, plant: Plant, report: Report, port: int
) -> None:
    master = start(master_end)
    done = threading.Event()
    with ExitStack() as stack:
        for number in range(400):
            peer = stack.enter_context(socket.create_connection((HOST, port), 20))
            if number % 2:
                peer.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a handshake
        stack.callback(done.set)
        report(GOOD, plant.end(plant.own), GOOD)
        is_there(master, GOOD)
    assert len(master.log) < 10_000


def test_a_crowd_from_one_address_pushes_nobody_from_another_out(
    start_master: Callable[..., Up], port: int
) -> None:
    master = start_master("--reports-listen", f"{HOST}:{port}")
    with ExitStack() as stack:
        slow = stack.enter_context(
            socket.create_connection((HOST, port), 20, source_address=("127.0.0.2", 0))
        )
        slow.sendall(b'{"instance": "good-1", ')
        for _ in range(300):
            stack.enter_context(socket.create_connection((HOST, port), 20))
        until(lambda: refused(master).get("no hello, while others wait"), "the house is full")
        slow.sendall(b'"pid": 1}\n')
        is_there(master, GOOD)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("worker", "good-1", "--report-to", "192.0.2.1:5890"),
            "--report-tls DIR, or write tcp://",
        ),
        (
            ("master", "--reports-listen", "0.0.0.0:5890"),
            "--reports-listen 0.0.0.0:5890 is beyond this host",
        ),
        (
            ("master", "--reports-listen", "tcp://0.0.0.0:5890", "--reports-tls", "x"),
            "leave out either tcp:// or --reports-tls",
        ),
    ],
    ids=["worker", "master", "both"],
)
def test_nothing_leaves_the_host_in_plain_unless_that_is_written_out(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    edge = "pre_broker: h, post_broker: h, pre_topic: i, post_topic: o, edge_mode: json.dumps"
    config.write_text(f"edge: [{{name: good, {edge}}}]")
    ended = run_pyboot(*arguments, "--config", str(config), "--run-dir", str(tmp_path))
    assert (ended.returncode, said in ended.stderr) == (64, True), ended.stderr


@pytest.mark.parametrize("broken", ["absent", "not PEM"])
def test_a_certificate_that_can_not_be_used_is_said_at_the_start(
    broken: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("edge: []")
    if broken == "not PEM":
        (tmp_path / "tls.crt").write_text("x")
    ended = run_pyboot(
        *("master", "--config", str(config), "--run-dir", str(tmp_path / "run")),
        *("--reports-listen", f"{HOST}:0", "--reports-tls", str(tmp_path), "--listen", f"{HOST}:0"),
    )
    assert ended.returncode == 69
    assert "--reports-tls: " in ended.stderr
    assert str(tmp_path / "tls.crt") in ended.stderr
