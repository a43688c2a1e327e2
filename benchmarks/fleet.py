"""What the master costs with many instances: `apply`'s own part, a scrape, and its memory.

The instances are one program that answers the master with a real worker's snapshot under many
names: a thousand Python processes would measure the machine's memory.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from support.app import Up

from benchmarks.contest import broker, cpu_seconds, ended, rss_mb
from benchmarks.contestants import BULK, Launch
from benchmarks.goals import Goal, at_most
from benchmarks.growth import Row, worker_ready
from benchmarks.toolbox import Toolbox
from pyboot_svc.config.loader import load_config
from pyboot_svc.services.plan import Wanted, make_plan

_SCRAPES = 5
_ASK = b"?\n"


def fleet(tools: Toolbox, counts: Sequence[int]) -> tuple[list[Row], list[Goal]]:
    """Figures for so many instances, and how much dearer the last one is an instance."""
    snapshot = _snapshot(tools)
    found = {count: _measure(count, snapshot) for count in counts}
    rows = [
        Row(
            f"{count:,} instances: apply (compile and plan), a scrape, master's memory",
            f"{plan * 1e3:.0f} ms of CPU, {scrape * 1e3:.1f} ms of CPU, {memory:.1f} MB",
        )
        for count, (plan, scrape, memory) in found.items()
    ]
    middle, last = counts[-2], counts[-1]
    names = ("apply", "a scrape", "the master's memory")
    goals = [
        # More than linear would be more than the ratio of the counts; memory has a fixed part.
        at_most(
            f"{name}: {last:,} instances, of {middle:,}",
            1.15 * last / middle,
            found[last][number] / found[middle][number],
        )
        for number, name in enumerate(names)
    ]
    return rows, goals


def _measure(count: int, snapshot: str) -> tuple[float, float, float]:
    """CPU seconds of a plan, CPU seconds of a scrape, the master's MB."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        config = BULK.write_config(Launch(1883, 1, "compute"), folder, count)
        plan = _plan_seconds(config)
        run_dir = ["--run-dir", str(folder)]
        master = Up(folder / "master", config, *run_dir, command="master", ready=False)
        try:
            fakes = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fleet", str(folder), str(count)],
                stdin=subprocess.PIPE,
                text=True,
            )
            with ended(fakes):
                assert fakes.stdin is not None
                fakes.stdin.write(snapshot)
                fakes.stdin.flush()
                master.wait_ready(60)
                before = cpu_seconds(master.pid)
                for _ in range(_SCRAPES):
                    status, _ = master.get("/metrics")
                    assert status == 200
                scrape = (cpu_seconds(master.pid) - before) / _SCRAPES
                return plan, scrape, rss_mb(master.pid)
        finally:
            master.close()


def _plan_seconds(config: Path) -> float:
    """What `apply` does itself; writing units and starting them is the service manager's."""
    from pyboot_svc.config.compiled import render_compiled
    from pyboot_svc.services.units import render_drop_in

    started = time.process_time()
    wanted = [
        Wanted(
            instance.identity,
            render_compiled(instance),
            render_drop_in(instance.identity, instance.edge, {"token": "/run/pyboot/tokens/x-1"}),
        )
        for instance in load_config(config).instances()
    ]
    make_plan(wanted, {})
    return time.process_time() - started


def _snapshot(tools: Toolbox) -> str:
    """A real worker's answer, got as the master would."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        ExitStack() as stack,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        folder = Path(name)
        port, _ = stack.enter_context(broker(folder))
        listener.bind(str(folder / "metrics.sock"))
        listener.listen()
        listener.settimeout(30)
        command = BULK.command(Launch(port, 1, "compute"), folder, tools)
        stack.enter_context(worker_ready(command, folder / "worker.log"))
        with listener.accept()[0] as connection, connection.makefile("rb") as lines:
            connection.settimeout(30)
            lines.readline()  # its hello
            connection.sendall(_ASK)
            return lines.readline().decode()


def _answer(run_dir: Path, count: int, snapshot: bytes) -> None:
    """Be `count` workers until somebody ends this."""
    selector = selectors.DefaultSelector()
    for number in range(1, count + 1):
        worker = socket.socket(socket.AF_UNIX)
        worker.connect(str(run_dir / "metrics.sock"))
        hello = {"instance": f"bench-{number}", "pid": os.getpid(), "version": "1"}
        worker.sendall(json.dumps(hello).encode() + b"\n")
        selector.register(worker, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            worker = key.fileobj  # type: ignore[assignment]
            asked = worker.recv(1024)
            if not asked:
                return
            worker.sendall(snapshot * asked.count(_ASK))


if __name__ == "__main__":
    _answer(Path(sys.argv[1]), int(sys.argv[2]), sys.stdin.readline().encode())
