"""`pyboot status` and `pyboot top`: the instances in one table, read from the master's web."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from pyboot_svc.address import format_address
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import DEFAULT_CONFIG_FILE, WebAddress
from pyboot_svc.errors import ConfigError, ExitCode, PybootError, UnavailableError, UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.figures import COLUMNS
from pyboot_svc.services.host import UnitState
from pyboot_svc.services.live import applied_states
from pyboot_svc.text import printable

_TIMEOUT_SECONDS = 5.0
_HEADER = ("INSTANCE", "STATE", *(figure.title.upper() for figure in COLUMNS))
_LONGEST_REASON = 1000
_CLEAR = "\x1b[H\x1b[J"


def status(options: argparse.Namespace) -> ExitCode:
    """The master's figures; where it has none, what the host's service manager knows."""
    trouble: PybootError | None = None
    try:
        document = fetch_instances(*_master_address(options))
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
        lines = [*table_lines(document["instances"]), *_advice(document["instances"])]
        print("\n".join(lines))
    if trouble is not None:
        sys.stdout.flush()
        raise trouble
    return ExitCode.OK


def _master_address(options: argparse.Namespace) -> tuple[str, int]:
    """Where to ask; what runs may have nothing to do with the configuration as it is by now.

    When that can't be read, it is where a master listens by default, if one answers there.
    """
    try:
        return _address(options)
    except ConfigError as error:
        web = WebAddress()
        try:
            fetch_instances(web.host, web.port)
        except UnavailableError:
            raise error from None
        print(f"pyboot: {error}", file=sys.stderr)
        return web.host, web.port


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


def top(options: argparse.Namespace) -> ExitCode:
    """Until Ctrl-C, the table again and again in its place; once where that is no terminal."""
    address = _master_address(options)
    while True:
        lines = table_lines(fetch_instances(*address)["instances"])
        if not sys.stdout.isatty():
            print("\n".join(lines))
            return ExitCode.OK
        print(_CLEAR + "\n".join(lines), flush=True)
        time.sleep(options.interval)


def fetch_instances(host: str, port: int) -> dict[str, Any]:
    """What the master's /api/instances gives; raises UnavailableError when nobody answers."""
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)) as asking:
            asking.request("GET", "/api/instances")
            response = asking.getresponse()
            document = json.loads(response.read())
        if response.status != http.HTTPStatus.OK or "instances" not in document:
            raise ValueError(f"HTTP status {response.status}")
    except (OSError, ValueError, http.client.HTTPException, TypeError) as error:
        raise UnavailableError(
            f"no master answers at http://{format_address(host, port)}: {error}; is it running, "
            "and does it listen there? (--config FILE or --listen HOST:PORT)"
        ) from error
    return document  # type: ignore[no-any-return]


def table_lines(instances: Iterable[dict[str, Any]]) -> list[str]:
    """A header and a line an instance, in columns; below them, why some aren't ready,
    and what brokers grant less than they were asked for."""
    instances = list(instances)
    rows = [_HEADER, *(_row(instance) for instance in instances)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return [_line(row, widths) for row in rows] + [
        printable(f"{instance['instance']}: {reason}", _LONGEST_REASON)
        for instance in instances
        for reason in [
            instance["error"],
            *instance.get("reasons", []),
            *instance.get("notices", []),
        ]
        if reason
    ]


def _row(instance: dict[str, Any]) -> tuple[str, ...]:
    figures = (figure.whole(instance) for figure in COLUMNS)
    shown = ("-" if figure is None else str(figure) for figure in figures)
    return tuple(printable(cell) for cell in (instance["instance"], instance["state"], *shown))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [row[column].ljust(widths[column]) for column in (0, 1)]
    right = [row[column].rjust(widths[column]) for column in range(2, len(row))]
    return "  ".join(left + right)


def _address(options: argparse.Namespace) -> tuple[str, int]:
    if options.listen:
        host, port = options.listen
    else:
        web = load_config(options.config or DEFAULT_CONFIG_FILE).web
        host, port = web.host, web.port
    if port == 0:
        raise UsageError("the configuration lets the web choose its port; give --listen HOST:PORT")
    return host, port
