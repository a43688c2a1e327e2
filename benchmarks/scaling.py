"""What a thousand workers take of one master and one broker: the measured part of docs/scaling.md.

The master and mosquitto are the real ones; workers are only their connections, since a thousand
processes would measure this machine's memory. `--workers N` for another number.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import socket
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.app import Up, run_pyboot
from support.broker import Broker, free_port
from support.poll import until

from pyboot_svc.metrics.protocol import ASK
from pyboot_svc.sockets.lines import encode_line

_SCRAPES = 5
_MESSAGES = 20_000
_BROKER = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_connections -1\n"
_SNAPSHOT = {
    "state": "ready",
    "reasons": [],
    "pre_queue": 0,
    "post_queue": 0,
    "in_flight": 0,
    "rss_bytes": 30_000_000,
    "uptime_s": 1000.0,
    "cpu_s": 12.345,
    "counters": dict.fromkeys(
        ("received", "processed", "published", "nothing_to_publish", "dropped"), 123_456
    ),
    "rates": {"in": 100.0, "out": 100.0},
    "errors": dict.fromkeys(("not_json", "model", "timeout"), 3),
    "latency_ms": {"p50": 1.5, "p99": 9.5},
    "brokers": {
        role: {"state": "connected", "address": "broker.plant.svc:1883", "reason": None}
        for role in ("pre", "post")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1000)
    workers = parser.parse_args().workers
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="pyboot-") as folder, ExitStack() as stack:
        for name, value in {
            **measure_master(stack, Path(folder), workers),
            **measure_rendering(Path(folder), workers),
            **measure_broker(stack, Path(folder), workers),
        }.items():
            print(f"{name:60} {value}")


def measure_master(stack: ExitStack, folder: Path, workers: int) -> dict[str, str]:
    config = folder / "config.yaml"
    config.write_text(json.dumps({"edge": [edge("m", instance=workers)]}))
    port = free_port()
    master = Up(
        folder,
        config,
        *("--run-dir", str(folder / "run"), "--reports-listen", f"127.0.0.1:{port}"),
        command="master",
        ready=False,
    )
    stack.callback(master.close)
    idle = memory(master.pid)
    if os.fork() == 0:  # so that the answers' work isn't measured with the master's
        answer_for(workers, port, master.pid)
    until(lambda: master.get("/readyz")[0] == 200, "all have said hello", 60)
    times, sizes = [], []
    before = cpu(master.pid)
    for _ in range(_SCRAPES):
        began = time.monotonic()
        _, text = master.get("/metrics")
        times.append(time.monotonic() - began)
        sizes.append(len(text))
    used = (cpu(master.pid) - before) / _SCRAPES
    series = sum(1 for line in text.splitlines() if not line.startswith("#"))
    found = {
        f"master without workers, RSS, MB: {workers}": f"{idle:.0f}",
        "master with them after scrapes, RSS, MB": f"{memory(master.pid):.0f}",
        "a scrape of /metrics, s (median)": f"{statistics.median(times):.2f}",
        "a scrape of /metrics, CPU s": f"{used:.2f}",
        "a scrape, series": f"{series}",
        "a scrape, MB": f"{sizes[-1] / 1e6:.2f}",
    }
    master.close()
    return found


def answer_for(workers: int, port: int, master: int) -> None:
    """As many workers' ends of the metrics socket, until the master is gone."""
    selector = selectors.DefaultSelector()
    answer = encode_line(_SNAPSHOT)
    for number in range(1, workers + 1):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(encode_line({"instance": f"m-{number}", "pid": 1, "version": "1"}))
        selector.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            peer: Any = key.fileobj
            try:
                asked = peer.recv(4096)
            except ConnectionResetError:
                asked = b""
            if not asked:
                os._exit(0)
            peer.sendall(answer * asked.count(ASK))


def measure_rendering(folder: Path, workers: int) -> dict[str, str]:
    config = folder / "many.yaml"
    models = [edge(f"model_{number}") for number in range(workers)]
    config.write_text(json.dumps({"edge": models}))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = run_pyboot("render", "kubernetes", "--config", str(config), timeout=300)
    assert ended.returncode == 0, ended.stderr
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    return {f"pyboot render kubernetes, {workers} models, CPU s": f"{used:.1f}"}


def measure_broker(stack: ExitStack, folder: Path, workers: int) -> dict[str, str]:
    broker = Broker(folder / "broker", _BROKER).start()
    stack.callback(broker.stop)
    [pid] = [int(p) for p in os.listdir("/proc") if p.isdigit() and runs(p, str(folder / "broker"))]
    found = {"mosquitto without clients, RSS, MB": f"{memory(pid):.1f}"}
    clients: list[socket.socket] = []
    for count in (2, workers // 10, workers):
        for number in range(len(clients), count):
            clients.append(stack.enter_context(subscriber(broker.port, number)))
        # Beside each that subscribes, as many that publish results.
        rate, used = share(broker.port, clients, pid)
        found[f"shared subscription of {count}, messages/s"] = f"{rate:.0f}"
        found[f"shared subscription of {count}, broker's CPU µs a message"] = f"{used:.0f}"
    others = [stack.enter_context(connect(broker.port, f"p{n}")) for n in range(workers)]
    total = len(clients) + len(others)
    found[f"mosquitto with {total} connections, RSS, MB"] = f"{memory(pid):.1f}"
    return found


def share(port: int, clients: list[socket.socket], pid: int) -> tuple[float, float]:
    """Messages a second that one publisher gets through to all of them, and CPU µs of each."""
    packet = bytes([0x30, 2 + 1 + 100]) + b"\x00\x01t" + b"x" * 100
    selector = selectors.DefaultSelector()
    for client in clients:
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ)
    with connect(port, "feed") as feed:
        feed.setblocking(False)
        before, began = cpu(pid), time.monotonic()
        rest, expected, arrived = memoryview(packet * _MESSAGES), len(packet) * _MESSAGES, 0
        selector.register(feed, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while arrived < expected:
            ready = selector.select(20)
            assert ready, f"{expected - arrived} bytes are missing"
            for key, _ in ready:
                peer: Any = key.fileobj
                if peer is not feed:
                    arrived += len(peer.recv(1 << 16))
                elif rest:
                    rest = rest[feed.send(rest[: 1 << 14]) :]
                else:
                    selector.unregister(feed)
        took = time.monotonic() - began
        return _MESSAGES / took, (cpu(pid) - before) / _MESSAGES * 1e6


def connect(port: int, name: str) -> socket.socket:
    """An MQTT 3.1.1 connection, by hand: a client library would take more than the broker."""
    connection = socket.create_connection(("127.0.0.1", port))
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name.encode()
    connection.sendall(bytes([0x10, len(body)]) + body)
    assert connection.recv(4) == b"\x20\x02\x00\x00"
    return connection


def subscriber(port: int, number: int) -> socket.socket:
    connection = connect(port, f"s{number}")
    name = b"$share/g/t"
    body = b"\x00\x01" + len(name).to_bytes(2, "big") + name + b"\x00"
    connection.sendall(bytes([0x82, len(body)]) + body)
    assert connection.recv(5) == b"\x90\x03\x00\x01\x00"
    return connection


def edge(name: str, **more: Any) -> dict[str, Any]:
    hosts = {"pre_broker": "broker.plant.svc", "post_broker": "broker.plant.svc"}
    topics = {"pre_topic": f"{name}/in", "post_topic": f"{name}/out"}
    return {"name": name, "edge_mode": "a.b", **hosts, **topics, **more}


def runs(pid: str, text: str) -> bool:
    try:
        return text in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def memory(pid: int) -> float:
    """Resident, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def cpu(pid: int) -> float:
    """Seconds used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
