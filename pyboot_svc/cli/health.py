"""`pyboot health`: the signal for health checks and probes, from the workers themselves."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyboot_svc.errors import ExitCode
from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.health import ask_health, health_socket, health_sockets
from pyboot_svc.text import printable

UNHEALTHY = 1
_LONGEST_LINE = 4000


def health(options: argparse.Namespace) -> int:
    """Without an instance: of all that run, and with --ready of all that were applied.

    One that gave up, since a restart would end the same, is not ready; but nothing that runs is
    any less alive for it, and whoever asks for that only wants to know what to restart.
    """
    answers = [ask_health(socket, options.timeout) for socket in _sockets(options)]
    if options.json:
        print(json.dumps(answers[0] if options.instance else {"instances": answers}, indent=1))
    else:
        print("\n".join(map(_line, answers)) or f"no instance runs in {options.run_dir}")
    sign = "ready" if options.ready else "alive"
    well = bool(answers) and all(answer.get(sign) is True for answer in answers)
    return ExitCode.OK if well else UNHEALTHY


def _sockets(options: argparse.Namespace) -> Iterable[Path]:
    if options.instance:
        return [health_socket(options.run_dir, InstanceId.parse(options.instance))]
    sockets = set(health_sockets(options.run_dir))
    if options.ready:
        # Not above: the other checks are made every few seconds, and have to be cheap.
        from pyboot_svc.config.compiled import compiled_names

        names = compiled_names(options.run_dir)
        sockets.update(health_socket(options.run_dir, identity) for identity in names)
    return sorted(sockets)


def _line(answer: dict[str, Any]) -> str:
    state = "ready" if answer.get("ready") else "alive" if answer.get("alive") else "not alive"
    why = [text for key in ("stalls", "reasons", "notices") for text in answer.get(key, ())]
    line = f"{answer.get('instance')}: {state}" + (f": {'; '.join(map(str, why))}" if why else "")
    return printable(line, _LONGEST_LINE)
