"""`pyboot bench`: measures what a model costs, and what a rate needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyboot_svc.bench.estimate import USABLE, Need, best_threads, need, reason, sustained
from pyboot_svc.bench.stages import StageCosts, measure_stages
from pyboot_svc.bench.subject import load_subject
from pyboot_svc.bench.threads import gil_enabled, measure_threads, silence_worker
from pyboot_svc.cli.arguments import add_config, add_json, add_model_path, rate, seconds
from pyboot_svc.cli.config_file import config_file, model_path
from pyboot_svc.cli.models import run_elsewhere, run_models
from pyboot_svc.cli.payloads import instance_named, read_payloads, recording
from pyboot_svc.config import Edge, InstanceConfig
from pyboot_svc.config.loader import load_config
from pyboot_svc.environments.interpreter import is_here
from pyboot_svc.errors import ExitCode, UsageError
from pyboot_svc.services.lending import Places
from pyboot_svc.text import printable

DESCRIPTION = """\
Measure a model with messages from a file, in this process and without a broker:
how long one call takes, the CPU that each stage spends per message, and the rate
that one instance sustains with 1, 2, 4 and more threads. Calls that fail are
counted. Nothing is published, and what the model stores goes to a temporary
folder."""
EXAMPLES = (
    ("pyboot bench mean -c config.yaml --payload message.json", "one message, again and again"),
    ("pyboot bench mean --payload messages --lines --rate 500", "what do 500 per second need?"),
)

# Of the time: the stages take half, the threads the rest, a part for each of 1, 2 and 4.
_STAGES_SHARE = 0.5
_THREADS_SHARE = 0.5 / 3
_BAR_WIDTH = 40
# More is worth a word.
_MOST_DISTURBED = 0.05


@dataclass(frozen=True)
class _Report:
    edge: Edge
    payloads: tuple[bytes, ...]
    costs: StageCosts
    rates: dict[int, float]
    gil: bool
    cores: int
    need: Need | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("name", metavar="NAME", help="the model, as in telm_temperature")
    parser.add_argument("--payload", type=Path, metavar="FILE", help="a message for the model")
    parser.add_argument(
        "--lines", action="store_true", help="the file holds many messages, one per line"
    )
    parser.add_argument(
        "--rate",
        type=rate,
        metavar="N",
        help="show what N messages per second need: instances, threads, cores",
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=6.0,
        metavar="N",
        help="roughly how many seconds to measure (default: 6)",
    )
    add_json(parser, "print the figures as JSON")
    add_model_path(parser)


def run(options: argparse.Namespace) -> int:
    loaded = load_config(config_file(options), model_path=model_path(options))
    config = instance_named(loaded, options.name)
    if not is_here(config.edge.python):
        return run_elsewhere(config, {"--payload": options.payload})
    payloads = _payloads(options, config.edge)

    def work(places: Places) -> int:
        return _bench(options, config, payloads, places.scratch)

    return run_models([config.edge], config.model_path, work)


def _bench(
    options: argparse.Namespace,
    config: InstanceConfig,
    payloads: tuple[bytes, ...],
    scratch: Path,
) -> int:
    for name, value in config.edge.variables.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        subject = load_subject(config, payloads, Path(folder))
        bar = _Bar(sys.stderr.isatty())
        try:
            costs = measure_stages(
                subject, options.seconds * _STAGES_SHARE, bar.part(0.0, _STAGES_SHARE)
            )
            silence_worker()
            threads = measure_threads(
                subject, options.seconds * _THREADS_SHARE, bar.part(_STAGES_SHARE, 1.0)
            )
        finally:
            bar.clear()
    rates = sustained(threads, costs)
    wanted = None if options.rate is None else need(options.rate, rates, costs)
    cores = len(os.sched_getaffinity(0))
    report = _Report(config.edge, payloads, costs, rates, gil_enabled(), cores, wanted)
    print(json.dumps(_document(report), indent=1) if options.json else "\n".join(_lines(report)))
    return ExitCode.OK


def _payloads(options: argparse.Namespace, edge: Edge) -> tuple[bytes, ...]:
    if options.payload is None:
        raise UsageError(
            "bench needs messages like those that the model gets, because they decide what "
            f"a call costs: --payload FILE, with --lines if it has one per line. {recording(edge)}"
        )
    return read_payloads(options.payload, lines=options.lines)


def _document(report: _Report) -> dict[str, Any]:
    """What --json prints; rates in messages/s."""
    edge, costs = report.edge, report.costs
    return {
        "name": edge.name,
        "edge_mode": edge.edge_mode,
        "codec": edge.codec,
        "batch": edge.batch.max_size if edge.batch is not None else None,
        "payloads": len(report.payloads),
        "payload_bytes": sum(map(len, report.payloads)) / len(report.payloads),
        "messages": costs.messages,
        "calls": costs.calls,
        "disturbed": costs.disturbed,
        "failed": costs.failed,
        "first_error": costs.first_error or None,
        "call_us": {"p50": costs.call_us[0], "p99": costs.call_us[1]},
        "cpu_us": {**costs.cpu_us, "total": sum(costs.cpu_us.values())},
        "model_wall_us": costs.wall_us,
        "instance_rate": {str(threads): rate for threads, rate in report.rates.items()},
        "configured": {"instances": edge.instance, "threads": edge.threads},
        "threads": best_threads(report.rates),
        "threads_reason": reason(report.rates, costs, gil=report.gil),
        "gil": report.gil,
        "cores": report.cores,
        "need": None if report.need is None else asdict(report.need),
    }


def _lines(report: _Report) -> list[str]:
    edge, costs = report.edge, report.costs
    size = sum(map(len, report.payloads)) / len(report.payloads)
    what = f"batches of up to {edge.batch.max_size}" if edge.batch is not None else "single calls"
    cpu = {**costs.cpu_us, "total": sum(costs.cpu_us.values())}
    lines = [
        f"{edge.name}: {edge.edge_mode}, {what}, {costs.messages:,} messages of "
        f"{size:,.0f} bytes ({len(report.payloads):,} different)",
        f"one call, µs:        p50 {costs.call_us[0]:,.1f}   p99 {costs.call_us[1]:,.1f}",
        "CPU per message, µs: " + "   ".join(f"{stage} {us:,.1f}" for stage, us in cpu.items()),
        "per instance, msg/s: "
        + "   ".join(
            f"{threads} thread{'s' if threads > 1 else ''} {rate:,.0f}"
            + (" (as configured)" if threads == edge.threads else "")
            for threads, rate in report.rates.items()
        ),
        f"threads:             {best_threads(report.rates)}; "
        f"{reason(report.rates, costs, gil=report.gil)}",
    ]
    if costs.failed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in costs.failed.items())
        lines.append(f"failed:              {kinds}; the first: {printable(costs.first_error)}")
    if costs.disturbed > _MOST_DISTURBED:
        lines.append(
            f"disturbed:           other processes had the CPU {costs.disturbed:.0%} of the time: "
            "CPU figures are right; durations, rates and the number of threads are partly chance"
        )
    if report.need is not None:
        lines += _need_lines(report, report.need)
    return lines


def _need_lines(report: _Report, wanted: Need) -> list[str]:
    sustains = report.rates[wanted.threads]
    lines = [
        f"for {wanted.rate:,.0f} msg/s:       instance: {wanted.instances}, threads: "
        f"{wanted.threads}; each sustains {sustains:,.0f}, of which {USABLE:.0%} are used; "
        f"{wanted.cores:.2f} CPU cores in total"
    ]
    if wanted.cores > USABLE * report.cores:
        lines.append(
            f"                     this machine has {report.cores}: too few; make the model "
            "cheaper, or also run instances on other hosts"
        )
    return lines


class _Bar:
    """How far it is, on a terminal's last line; nothing where there is no terminal."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def part(self, first: float, last: float) -> Callable[[float], None]:
        return lambda done: self._show(first + (last - first) * done)

    def _show(self, done: float) -> None:
        if self._shown:
            full = int(_BAR_WIDTH * done)
            bar = "#" * full + "." * (_BAR_WIDTH - full)
            print(f"\r[{bar}] {done:4.0%}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
