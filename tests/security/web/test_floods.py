"""Connections that idle, drip or flood keep nobody from the master's health, and cost little."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.app import Running, Up
from support.broker import free_port
from support.poll import until

from pyboot_svc.sockets.descriptors import allow_many

IDLE = 500
REQUESTS_A_SECOND = 1000
FLOOD_SECONDS = 6.0
MOST_GROWTH = 100 * 1024**2
PATHS = ("/metrics", "/api/instances", "/", "/readyz", "/nowhere")


Target = tuple[str, int]


def address(master: Up) -> Target:
    host, _, port = master.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def healthy(target: Target, seconds: float = 10.0) -> bool:
    """Whether /healthz answers, within far more than it takes."""
    asking = http.client.HTTPConnection(*target, timeout=seconds)
    try:
        asking.request("GET", "/healthz")
        return asking.getresponse().status == 200
    finally:
        asking.close()


@contextmanager
def occupied(target: Target, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, every other of which has begun to send something."""
    with ExitStack() as stack:
        held = []
        for number in range(count):
            peer = stack.enter_context(socket.create_connection(target, 20))
            held.append(peer)
            if number % 2:
                peer.sendall(b"GET / HTTP/1.1\r\nX: ")
        yield held


@contextmanager
def background(run: Callable[[threading.Event], None], threads: int = 1) -> Iterator[None]:
    done = threading.Event()
    running = [threading.Thread(target=run, args=(done,)) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in running:
            thread.join()


def drip(held: list[socket.socket], done: threading.Event) -> None:
    while not done.wait(0.5):
        for peer in held[1::2]:
            try:
                peer.sendall(b"x")
            except OSError:
                pass  # it was ended


def flood(target: Target, rate: float, done: threading.Event) -> None:
    """Requests at a rate, of all pages, answered or not."""
    number, began = 0, time.monotonic()
    while not done.is_set():
        number += 1
        path = PATHS[number % len(PATHS)]
        try:
            with socket.create_connection(target, 5) as peer:
                peer.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                peer.recv(100)
        except OSError:
            pass
        done.wait(max(began + number / rate - time.monotonic(), 0))


def test_idle_dripping_and_flooding_together(start_master: Callable[..., Up]) -> None:
    master = start_master()
    before = resident(master.pid)
    threads = 8
    with (
        occupied(address(master), IDLE) as held,
        background(lambda done: drip(held, done)),
        background(lambda done: flood(address(master), REQUESTS_A_SECOND / threads, done), threads),
    ):
        until_then = time.monotonic() + FLOOD_SECONDS
        asked = 0
        while time.monotonic() < until_then:
            assert healthy(address(master))
            asked += 1
        assert asked
        assert resident(master.pid) - before < MOST_GROWTH
    assert len(master.log) < 10_000


def test_a_workers_probes_are_answered_all_the_while(
    tmp_path: Path, track: Callable[[Running], Running]
) -> None:
    """Else whoever can connect there could have Kubernetes restart it."""
    config, target = tmp_path / "config.yaml", ("127.0.0.1", free_port())
    nobody = f"pre_broker: 127.0.0.1, pre_port: {free_port()}, post_broker: 127.0.0.1"
    model = "edge_mode: pyboot_svc.models.telemetry.telm_temperature"
    config.write_text(f"edge: [{{name: m, {model}, {nobody}, pre_topic: i, post_topic: o}}]")
    folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    where = ("--config", str(config), "--probes-listen", f"{target[0]}:{target[1]}")
    worker = track(Running(tmp_path, "worker", "m-1", *where, *folders))
    until(lambda: is_up(target), "it answers")
    before = resident(worker.pid)
    threads = 4
    with (
        occupied(target, IDLE) as held,
        background(lambda done: drip(held, done)),
        background(lambda done: flood(target, REQUESTS_A_SECOND / threads, done), threads),
    ):
        until_then = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < until_then:
            assert healthy(target)
        assert resident(worker.pid) - before < MOST_GROWTH
    assert len(worker.log) < 10_000


def is_up(target: Target) -> bool:
    try:
        return healthy(target)
    except OSError:
        return False


@pytest.mark.parametrize("endless", ["header", "headers", "line", "body"])
def test_what_never_ends_is_cut_off(start_master: Callable[..., Up], endless: str) -> None:
    starts = {
        "header": (b"GET / HTTP/1.1\r\nX: ", b"x" * 1024),
        "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 200),
        "line": (b"GET /", b"x" * 1024),
        "body": (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 1024),
    }
    start, more = starts[endless]
    master = start_master()
    before = resident(master.pid)
    with socket.create_connection(address(master), 20) as peer:
        peer.sendall(start)
        with pytest.raises((ConnectionError, TimeoutError)):
            peer.sendall(more * 60_000)
    assert resident(master.pid) - before < MOST_GROWTH
    assert healthy(address(master))


def test_without_descriptors_left_it_goes_on_and_says_little(
    start_master: Callable[..., Up],
) -> None:
    master = start_master(within=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh"))
    with occupied(address(master), 300):
        assert healthy(address(master))
    assert healthy(address(master))
    assert len(master.log) < 10_000


def test_strangers_at_the_metrics_socket_keep_no_worker_out(
    start_master: Callable[..., Up], hello: Callable[[str], socket.socket], tmp_path: Path
) -> None:
    master = start_master()
    with ExitStack() as stack:
        for _ in range(400):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(str(tmp_path / "run" / "metrics.sock"))
            peer.sendall(b"{")
        hello("good-1")
        until(lambda: master.instance("good-1")["state"] == "stalled", "it is connected")
    assert len(master.log) < 10_000


def test_those_who_drip_do_not_have_the_watchdog_end_it(
    start_master: Callable[..., Up], tmp_path: Path
) -> None:
    path = str(tmp_path / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        master = start_master(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1500000"})
        with occupied(address(master), IDLE) as held, background(lambda done: drip(held, done)):
            signs = 0
            while signs < 6:  # in 3 s, in which one would have been too late for the next
                signs += b"WATCHDOG=1" in manager.recv(4096)
    assert "no progress" not in master.log


def test_a_thousand_workers_need_no_limit_raised_by_hand(
    start_master: Callable[..., Up], hello: Callable[[str], socket.socket]
) -> None:
    if allow_many() < 4096:
        pytest.skip("this test may not have as many descriptors itself")
    within = ("sh", "-c", 'ulimit -S -n 1024; exec "$@"', "sh")
    master = start_master(instances=600, within=within)
    for number in range(1, 601):
        hello(f"good-{number}")
        hello(f"bad-{number}")

    def stalled() -> int:
        rows = master.get("/api/instances")[1]["instances"]
        return sum(row["state"] == "stalled" for row in rows)

    until(lambda: stalled() == 1200, "all are connected")
    assert healthy(address(master))
    assert "can't take connections" not in master.log
