"""`pyboot trace`: messages as they pass through a worker."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyboot_svc.cli.arguments import (
    RUN_DIR,
    STATE_DIR,
    add_config,
    add_found_run_dir,
    add_found_state_dir,
    add_json,
    count,
)
from pyboot_svc.errors import ExitCode, UnavailableError, UsageError
from pyboot_svc.identity import NAME_PATTERN, InstanceId
from pyboot_svc.text import block, printable
from pyboot_svc.tracing.client import trace_socket, watch_messages
from pyboot_svc.tracing.wish import Wish

DESCRIPTION = """\
Show messages as they pass through an instance, or through all of a model, until
Ctrl-C: topic, input, result, where it went, the time in each stage, the error. Up to
50 a second are shown of each instance, and how many were not; none of them waits for
that. For root, the group pyboot and the worker's own user; under systemd for root."""
EXAMPLES = (
    ("sudo pyboot trace mean-1", "what passes now"),
    ("sudo pyboot trace mean --errors -n 1", "the next that fails"),
    ("sudo pyboot trace mean-1 --topic 'plant/+/t' --json", "for a program"),
)
_LONGEST_TEXT, _LONGEST_ERROR = 1000, 4000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME[-INSTANCE]", help="as in telm_temperature-1")
    parser.add_argument("--topic", metavar="FILTER", help="those that match, as in plant/+/value")
    parser.add_argument("--errors", action="store_true", help="those that fail")
    parser.add_argument("-n", type=count, metavar="N", help="end after N messages")
    add_json(parser, "print a JSON object a line")
    add_config(parser)
    add_found_run_dir(parser, "where workers have their sockets")
    add_found_state_dir(parser, "where instances keep their state")


def run(options: argparse.Namespace) -> ExitCode:
    sockets = _sockets(options)
    try:
        _show(sockets, options)
    except KeyboardInterrupt:
        pass  # its usual end
    return ExitCode.OK


def _show(sockets: dict[str, Path], options: argparse.Namespace) -> None:
    """Until there are as many as are asked for."""
    left = options.n
    for name, document in watch_messages(sockets, Wish(options.topic, options.errors)):
        if options.json:
            print(json.dumps({"instance": name, **document}), flush=True)
        else:
            print("\n".join(_lines(name, document)), flush=True)
        if left is not None and "skipped" not in document:
            left -= 1
            if left == 0:
                return
    raise UnavailableError(f"{', '.join(sockets)}: ended, there is nothing more to see")


def _sockets(options: argparse.Namespace) -> dict[str, Path]:
    """Of all that are asked for: those of a running `up`, else those of the services or of the
    folders that the command line names; raises UsageError where there are none."""
    name = options.name
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} is neither a model nor an instance, as in mean-1")
    found = _sockets_of_up(options) if options.run_dir is None else {}
    run_dir, state_dir = options.run_dir or RUN_DIR, options.state_dir or STATE_DIR
    found = found or _sockets_in(run_dir, state_dir, name)
    if not found:
        up = ", or of a `pyboot up` of yours" if options.run_dir is None else ""
        raise UsageError(
            f"no instance {name} runs that can be looked at, by {run_dir} and {state_dir}{up}; "
            "`pyboot status` shows those that run, and --run-dir and --state-dir name other folders"
        )
    return found


def _sockets_of_up(options: argparse.Namespace) -> dict[str, Path]:
    """Raises UsageError where several `up` run what is asked for, and nothing says which."""
    from pyboot_svc.cli.config_file import named_config
    from pyboot_svc.cli.running import one_of, running_ups

    ups, config = running_ups(), named_config(options)
    if options.state_dir is not None:
        ups = [up for up in ups if Path(up.state_dir).resolve() == options.state_dir.resolve()]
        config = options.config  # what the environment says was not meant
    found = {
        up: _sockets_in(Path(up.run_dir), Path(up.state_dir), options.name)
        for up in ups
        if up.run_dir is not None
    }
    up = one_of([up for up in ups if found.get(up)], config, "--config or --state-dir")
    return found[up] if up is not None else {}


def _sockets_in(run_dir: Path, state_dir: Path, name: str) -> dict[str, Path]:
    found = {}
    for identity in _identities(name, run_dir, state_dir):
        socket = trace_socket(run_dir, state_dir, identity)
        if socket is not None:
            found[str(identity)] = socket
    return found


def _identities(name: str, run_dir: Path, state_dir: Path) -> list[InstanceId]:
    try:
        return [InstanceId.parse(name)]
    except UsageError:
        pass  # a model's
    found = set()
    for entry in (*_seen_in(run_dir / "workers"), *_seen_in(state_dir)):
        try:
            identity = InstanceId.parse(entry)
        except UsageError:
            continue
        if identity.model == name:
            found.add(identity)
    return sorted(found)


def _seen_in(folder: Path) -> list[str]:
    """One of the two may be there for others only."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _lines(name: str, told: dict[str, Any]) -> Iterator[str]:
    """A message as people read it: what is not as it should be, is not shown."""
    if "skipped" in told:
        yield f"{name}: {told['skipped']} more passed"
        return
    moment = float(told.get("time", 0))
    clock = time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03}"
    topic, payload = printable(str(told.get("topic"))), _shown(told, "input", "bytes")
    yield f"{clock} {name}  {topic}  {payload}"
    where = f" to {printable(str(told['to']))}" if told.get("to") else ""
    yield f"    {printable(str(told.get('end')))}{where}  {_stages(told)}"
    if "result" in told:
        yield f"    {_shown(told, 'result', 'result_bytes')}"
    if told.get("error"):
        yield f"    {block(str(told['error']), _LONGEST_ERROR)}"


def _shown(told: dict[str, Any], key: str, size: str) -> str:
    text = printable(str(told.get(key)), _LONGEST_TEXT)
    whole = len(text.encode(errors="replace")) >= int(told.get(size) or 0)
    return text if whole else f"{text} … ({told[size]} bytes)"


def _stages(told: dict[str, Any]) -> str:
    ms = told.get("ms") or {}
    said = ", ".join(f"{stage} {took} ms" for stage, took in ms.items() if took is not None)
    together = told.get("together") or 1
    return f"{said} (one of {together} at a time)" if together > 1 and said else said
