"""What pyboot costs before it does any work: start-up, memory, and CPU while idle.

Prints a Markdown table; medians of several runs. Run it by `make footprint`.
"""

from __future__ import annotations

import compileall
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from support.app import PYBOOT, Up
from support.broker import Broker
from support.client import Plant
from support.poll import until

import pyboot_svc
from pyboot_svc.config.compiled import write_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.identity import InstanceId

_RUNS = 7
_IDLE_SECONDS = 60
_MESSAGES = 5_000
_MODEL = """
import statistics

def model(payload):
    return {"mean": statistics.fmean(payload), "max": max(payload)}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # As in a package, whose bytecode is written when it is installed; workers write none.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        compileall.compile_dir(Path(pyboot_svc.__file__).parent, quiet=1)
        broker = Broker(folder / "broker").start()
        try:
            rows = _measure(folder, broker)
        finally:
            broker.stop()
    print("| figure | measured | limit |\n|---|---|---|")
    for what, figure, limit in rows:
        print(f"| {what} | {figure} | {limit} |")


def _measure(folder: Path, broker: Broker) -> list[tuple[str, str, str]]:
    config = _write_config(folder, broker.port)
    help_cpu = statistics.median(_help_cpu() for _ in range(_RUNS))
    ready = statistics.median(_ready_seconds(folder, config) for _ in range(_RUNS))
    up = Up(folder / "up", config)
    try:
        worker = up.instance("model-1")["pid"]
        idle_rss = _rss(worker)
        with Plant(broker.port) as plant:
            plant.publish_all("footprint/in", [list(range(20))] * _MESSAGES)
            until(lambda: up.instance("model-1")["counters"]["published"] == _MESSAGES)
        worker_rss, master_rss = _rss(worker), _rss(up.pid)
        worker_idle, master_idle = _idle_shares(worker, up.pid)
    finally:
        up.close()
    return [
        ("`pyboot --help`, CPU time", f"{help_cpu:.3f} s", "0.15 s"),
        ("worker, from its start to subscribed", f"{ready:.2f} s", "0.2 s"),
        ("worker before its first message, RSS", f"{idle_rss:.1f} MB", "27 MB"),
        (f"worker after {_MESSAGES} messages, RSS", f"{worker_rss:.1f} MB", "30 MB"),
        ("master after scrapes, RSS", f"{master_rss:.1f} MB", "45 MB"),
        ("worker without messages, CPU", f"{worker_idle:.2f} % of a core", "0.1 %"),
        ("master without scrapes, CPU", f"{master_idle:.2f} % of a core", "0.5 %"),
    ]


def _write_config(folder: Path, port: int) -> Path:
    (folder / "footprint_model.py").write_text(_MODEL)
    config = folder / "config.yaml"
    config.write_text(
        f"model_path: .\nedge:\n  - name: model\n    edge_mode: footprint_model.model\n"
        f"    pre_broker: 127.0.0.1\n    pre_port: {port}\n    pre_topic: footprint/in\n"
        f"    post_broker: 127.0.0.1\n    post_port: {port}\n    post_topic: footprint/out\n"
    )
    return config


def _help_cpu() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*PYBOOT, "--help"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ready_seconds(folder: Path, config: Path) -> float:
    # As a unit starts it: `apply` has checked the configuration and written down what it needs.
    identity = InstanceId("model", 1)
    write_compiled(load_config(config).instance(identity), folder)
    command = [*PYBOOT, "worker", str(identity)]
    folders = ["--run-dir", str(folder), "--state-dir", str(folder / "state")]
    started = time.monotonic()
    with subprocess.Popen([*command, *folders], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "subscribed" in line:
                break
        seconds = time.monotonic() - started
        process.terminate()
        process.stderr.read()
    return seconds


def _rss(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _cpu_seconds(pid: int) -> float:
    """By the scheduler's own count: of what is idle, the clock's ticks meet next to nothing."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def _idle_shares(*pids: int) -> list[float]:
    """Per cent of a core that each uses while nothing happens."""
    before = [_cpu_seconds(pid) for pid in pids]
    time.sleep(_IDLE_SECONDS)
    after = [_cpu_seconds(pid) for pid in pids]
    return [100 * (b - a) / _IDLE_SECONDS for a, b in zip(before, after, strict=True)]


if __name__ == "__main__":
    main()
