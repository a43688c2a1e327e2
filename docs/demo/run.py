"""What `make run` runs: a broker, a simulated plant, and `pyboot up` with the bundled models."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plant import Plant

from pyboot_svc.address import parse_address
from pyboot_svc.cli.master_client import MasterAt, fetch_instances
from pyboot_svc.cli.table import table_lines, terminal_width
from pyboot_svc.config import WebAddress
from pyboot_svc.errors import UnavailableError

_HERE = Path(__file__).parent
_START_SECONDS = 20.0
_STOP_SECONDS = 4.5
_CLEAR = "\x1b[H\x1b[J"


def main() -> int:
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    summary: list[str] = []
    try:
        with contextlib.ExitStack() as stack:
            _show(stack, options, summary)
    except KeyboardInterrupt:
        pass
    print("\n".join(summary))
    return 0 if summary else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, help="seconds (default: until Ctrl-C)")
    parser.add_argument("--rate", type=int, default=200, help="messages a second (default: 200)")
    return parser.parse_args()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _show(stack: contextlib.ExitStack, options: argparse.Namespace, summary: list[str]) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyboot-demo-")))
    port = stack.enter_context(_broker(folder))
    host, web_port = stack.enter_context(_pyboot(folder, port))
    plant = Plant(port, options.rate)
    _wait_ready(host, web_port, folder)
    plant.start()
    stack.callback(plant.stop)
    print(f"web: http://{host}:{web_port}   log: {folder}/pyboot.log", flush=True)
    started = time.monotonic()
    while options.duration is None or time.monotonic() - started < options.duration:
        time.sleep(1)
        instances = fetch_instances(MasterAt(WebAddress(host, web_port)))["instances"]
        elapsed = time.monotonic() - started
        summary[:] = _summary(plant.published, elapsed, instances)
        if sys.stdout.isatty():
            address = f"web: http://{host}:{web_port}   {elapsed:.0f} s   Ctrl-C stops"
            table = table_lines(instances, terminal_width())
            print(_CLEAR + "\n".join([address, "", *table]), flush=True)
        else:
            print(f"{elapsed:4.0f} s  {_one_line(instances)}", flush=True)


@contextlib.contextmanager
def _broker(folder: Path) -> Iterator[int]:
    """A mosquitto of our own; gives its port."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed: sudo apt-get install mosquitto")
    port = _free_port()
    file = folder / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n")
    with _process([program, "-c", str(file)], folder / "mosquitto.log") as process:
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"mosquitto didn't start; see {folder}/mosquitto.log")
            time.sleep(0.02)
        yield port


@contextlib.contextmanager
def _pyboot(folder: Path, broker_port: int) -> Iterator[tuple[str, int]]:
    """`pyboot up` on the demo's configuration; gives the web's address."""
    text = (_HERE / "config.yaml").read_text().replace("port: 1883", f"port: {broker_port}")
    config = folder / "config.yaml"
    config.write_text(text)
    command = [sys.executable, "-P", "-m", "pyboot_svc", "up", "--config", str(config)]
    with _process(command, folder / "pyboot.log") as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        if not url:
            raise SystemExit((folder / "pyboot.log").read_text())
        yield parse_address(url.removeprefix("http://"))


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, so that Ctrl-C reaches us alone; ended at the end."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_ready(host: str, port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not all(
        i["state"] == "ready"
        for i in fetch_instances(MasterAt(WebAddress(host, port)))["instances"]
    ):
        if time.monotonic() > deadline:
            raise SystemExit(f"the models didn't get ready:\n{(folder / 'pyboot.log').read_text()}")
        time.sleep(0.05)


def _totals(instances: list[dict[str, Any]], name: str) -> int:
    return sum(i.get("counters", {}).get(name, 0) for i in instances)


def _errors(instances: list[dict[str, Any]]) -> int:
    return sum(sum(i.get("errors", {}).values()) for i in instances)


def _one_line(instances: list[dict[str, Any]]) -> str:
    def rate(way: str) -> float:
        return float(sum(i.get("rates", {}).get(way, 0.0) for i in instances))

    waiting = [sum(i[queue] or 0 for i in instances) for queue in ("pre_queue", "post_queue")]
    return (
        f"{len(instances)} instances  in {rate('in'):.0f}/s  out {rate('out'):.0f}/s  "
        f"pre_queue {waiting[0]}  post_queue {waiting[1]}  "
        f"p50 {_worst(instances, 'p50')} ms  p99 {_worst(instances, 'p99')} ms  "
        f"errors {_errors(instances)}"
    )


def _worst(instances: list[dict[str, Any]], quantile: str) -> float | str:
    values = [i.get("latency_ms", {}).get(quantile) for i in instances]
    return max((value for value in values if value is not None), default="-")


def _summary(published: int, elapsed: float, instances: list[dict[str, Any]]) -> list[str]:
    return [
        "",
        f"{elapsed:.0f} s: the plant published {published} messages; "
        f"{len(instances)} instances of {len({i['model'] for i in instances})} models took in "
        f"{_totals(instances, 'received')}, processed {_totals(instances, 'processed')}, "
        f"published {_totals(instances, 'published')} results, "
        f"dropped {_totals(instances, 'dropped')}; errors: {_errors(instances)}; "
        f"latency p50 {_worst(instances, 'p50')} ms, p99 {_worst(instances, 'p99')} ms",
        "",
        *table_lines(instances, terminal_width()),
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UnavailableError as error:
        sys.exit(f"pyboot ended too early: {error}")
