"""Three hosts: a broker with the master, and two that share a model. One is cut off and returns.

Nothing is lost; meanwhile the other goes on, and takes over the instance of the one that is away.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from chaos.counted import Collector, Feed, count
from support.app import PYBOOT, Running
from support.broker import Broker
from support.poll import until

from hosts.network import Host, Network, enter

BROKER = """listener {port}
allow_anonymous true
listener 0 %s
allow_anonymous true
persistence false
"""
MODEL = "chaos.models.slow"
TESTS = Path(__file__).resolve().parents[1]
MASTER_WEB, REPORTS_PORT = "127.0.0.1:5888", 5890


@dataclass
class Fleet:
    """What runs where; each worker has a state folder of its own."""

    folder: Path
    name: str
    centre: str
    broker: Broker
    stack: ExitStack
    workers: dict[str, Running] = field(default_factory=dict)

    def work(self, host: Host, number: int, label: str) -> Running:
        """Run an instance on a host."""
        folder = self.folder / label
        worker = Running(
            folder,
            *("worker", f"{self.name}-{number}", "--config", str(self._config(host, folder))),
            *("--run-dir", str(folder / "run"), "--state-dir", str(folder / "state")),
            *("--report-to", f"tcp://{host.centre}:{REPORTS_PORT}", "--drain-seconds", "10"),
            within=host.enter,
        )
        self.stack.callback(worker.close)
        self.workers[label] = worker
        return worker

    def master(self, host: Host) -> None:
        master = Running(
            self.folder / "master",
            *("master", "--config", str(self._config(host, self.folder / "master"))),
            *("--run-dir", str(self.folder / "run"), "--listen", MASTER_WEB),
            *("--reports-listen", f"tcp://0.0.0.0:{REPORTS_PORT}"),
            within=enter(self.centre),
        )
        self.stack.callback(master.close)
        master.wait_log("is up:")

    def instances(self) -> dict[str, dict[str, Any]]:
        """What the master shows."""
        command = [*enter(self.centre), *PYBOOT, "status", "--json", "--listen", MASTER_WEB]
        ended = subprocess.run(command, capture_output=True, check=True, timeout=30)
        return {row["instance"]: row for row in json.loads(ended.stdout)["instances"]}

    def state(self, number: int) -> str:
        state: str = self.instances()[f"{self.name}-{number}"]["state"]
        return state

    def _config(self, host: Host, folder: Path) -> Path:
        # As on hosts of their own: each sees the broker at an address of its own.
        plant = {"host": host.centre, "port": self.broker.port, "keepalive": 5}
        edge = {
            "name": self.name,
            "instance": 2,
            "edge_mode": MODEL,
            "options": {"seconds": 0.005},
            "pre_broker": "plant",
            "pre_topic": f"{self.name}/in",
            "pre_qos": 1,
            "post_broker": "plant",
            "post_topic": f"{self.name}/out",
            "post_qos": 1,
        }
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "config.yaml"
        document = {"model_path": str(TESTS), "brokers": {"plant": plant}, "edge": [edge]}
        file.write_text(json.dumps(document))
        return file


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def fleet(network: Network, tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        # The path of a UNIX socket has to be short.
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyboot-")))
        socket = short / "broker.sock"
        lines = BROKER % socket
        broker = Broker(tmp_path / "broker", lines, enter(network.centre), socket).start()
        stack.callback(broker.stop)
        yield Fleet(tmp_path, f"m{uuid.uuid4().hex[:8]}", network.centre, broker, stack)


@pytest.mark.timeout(240)
def test_one_of_two_hosts_is_cut_off_and_comes_back(network: Network, fleet: Fleet) -> None:
    near, far = network.add(), network.add()
    fleet.master(near)
    fleet.work(near, 1, "near").wait_log("subscribed to")
    cut_off = fleet.work(far, 2, "far")
    cut_off.wait_log("subscribed to")
    until(lambda: fleet.state(1) == fleet.state(2) == "ready", "the master hears of both")

    at = str(fleet.broker.socket)
    collector = Collector(f"{fleet.name}-out", at, f"{fleet.name}/out")
    fleet.stack.callback(collector.close)
    feed = Feed(f"{fleet.name}-in", at, f"{fleet.name}/in", 1)
    fleet.stack.callback(feed.close)

    def flow(messages: int) -> None:
        # The lead leaves some on their way at any moment.
        feed.start(messages, lambda: collector.distinct, 200)
        feed.finish(90)

    def wait_all(timeout: float = 90.0) -> None:
        until(lambda: collector.distinct == feed.sent, "a result of each message", timeout)

    flow(600)
    far.cut()
    # More than may be open at a time: the other one must get on for all of them to be sent.
    feed.send(600)
    before = collector.distinct
    until(lambda: collector.distinct > before + 200, "the other goes on")
    until(lambda: fleet.state(2) in ("stalled", "absent"), "the master misses it", 60)

    # What is Kubernetes' part, or an administrator's: the instance starts on another host.
    replacement = fleet.work(near, 2, "replacement")
    replacement.wait_log("subscribed to")
    wait_all()
    assert cut_off.process.poll() is None
    assert replacement.stop() == 0

    far.mend()
    until(lambda: cut_off.log.count("connected") >= 2, "it is back", 60)
    until(lambda: fleet.state(2) == "ready", "the master hears of it again", 60)
    returned = int(fleet.instances()[f"{fleet.name}-2"]["counters"]["received"])
    flow(600)
    wait_all()
    assert fleet.instances()[f"{fleet.name}-2"]["counters"]["received"] > returned
    until(
        lambda: all(row["spooled"] == 0 for row in fleet.instances().values()),
        "nothing waits on any disk",
    )
    found = count(range(feed.sent), collector.on(f"{fleet.name}/out"))
    print(found)
    found.expect_all()
    ids: dict[int, set[str]] = {}
    for arrival in collector.arrivals:
        ids.setdefault(arrival.number, set()).add(arrival.user["pyboot-id"])
    assert all(len(of_one) == 1 for of_one in ids.values()), "duplicates can be recognised"


def test_nothing_of_the_network_is_left() -> None:
    def names() -> str:
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, check=True)
        return listed.stdout.decode()

    made = []

    def fail() -> None:
        with Network() as network:
            network.add()
            made.append(network.centre)
            assert network.centre in names()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert made[0] not in names()
