"""`pyboot status`: all instances in one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

from pyboot_svc.cli.arguments import add_config, add_json, add_listen
from pyboot_svc.cli.colours import painted, unpainted, wants_colour
from pyboot_svc.cli.master_address import find_master
from pyboot_svc.cli.master_client import add_token_file, fetch_instances
from pyboot_svc.cli.table import table_lines, terminal_width, told_lines
from pyboot_svc.errors import ExitCode, PybootError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.host import UnitState
from pyboot_svc.services.live import applied_states

DESCRIPTION = """\
Show all instances in one table: state, rates, queues, latency, errors. The figures
come from the running master; where there is none, the table shows what the host's
service manager knows. On a terminal it has the columns that fit, states in colour
unless NO_COLOR is set, and under an instance why it isn't ready; elsewhere it has all
columns, and the reasons below, each with the instance's name."""
EXAMPLES = (
    ("pyboot status", "of the master at the configured address"),
    ("pyboot status --listen 127.0.0.1:5888 --json", "of another one, for a program"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_listen(parser, "where the master listens (default: as configured)")
    add_token_file(parser)
    add_json(parser, "print what /api/instances gives")


def run(options: argparse.Namespace) -> ExitCode:
    """The master's figures; where it has none, what the host's service manager knows."""
    trouble: PybootError | None = None
    try:
        document = fetch_instances(find_master(options))
    except PybootError as error:
        rows = [_unit_row(identity, state) for identity, state in applied_states().items()]
        if not rows:
            raise
        document, trouble = {"instances": rows}, error
    else:
        _explain_absence(document["instances"])
    if options.json:
        print(json.dumps(document, indent=1))
    else:
        rows = document["instances"]
        print("\n".join([*_table(rows), *_advice(rows)]))
    if trouble is not None:
        sys.stdout.flush()
        raise trouble
    return ExitCode.OK


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """For people, or for what reads a pipe and looks for the instance's name in each line."""
    width = terminal_width()
    if width is None:
        return table_lines(rows)
    return told_lines(rows, width, painted if wants_colour(sys.stdout) else unpainted)


def _explain_absence(instances: list[dict[str, Any]]) -> None:
    """Of those that don't answer the master, how their units are."""
    silent = [row for row in instances if row.get("error") and not row.get("service")]
    if silent:
        states = {str(identity): state for identity, state in applied_states().items()}
        for row in silent:
            if state := states.get(row["instance"]):
                row["service"] = _service(state)
                row["reasons"] = [*row.get("reasons", ()), state.detail]


def _unit_row(identity: InstanceId, state: UnitState) -> dict[str, Any]:
    """A row without figures."""
    return {
        "instance": str(identity),
        "state": state.word,
        "error": None,
        "reasons": [] if state.works else [state.detail],
        "pre_queue": None,
        "post_queue": None,
        "service": _service(state),
    }


def _service(state: UnitState) -> dict[str, str]:
    return {"state": state.word, "detail": state.detail, "advice": state.advice}


def _advice(instances: Iterable[dict[str, Any]]) -> list[str]:
    """What helps their units, each once."""
    found = ((instance.get("service") or {}).get("advice") for instance in instances)
    return list(dict.fromkeys(filter(None, found)))
