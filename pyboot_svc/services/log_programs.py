"""Logs that a program shows: journalctl those of systemd's units, kubectl those of pods."""

from __future__ import annotations

import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyboot_svc.errors import UnavailableError, UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.kubernetes.cluster import selector
from pyboot_svc.kubernetes.names import object_name
from pyboot_svc.services.child import how_it_ended
from pyboot_svc.services.log_lines import ErrorFilter
from pyboot_svc.services.units import unit_name

# A field that nobody but journald writes.
_UNIT = "_SYSTEMD_UNIT"
_MOST_PODS = 100


@dataclass(frozen=True)
class Asked:
    """The logs of one instance, or of all of the `model`; the last `most` lines, and what comes."""

    model: str
    identity: InstanceId | None
    most: int
    follow: bool = False
    errors: bool = False


def show_journal(asked: Asked) -> None:
    """Has journalctl print it. Raises UnavailableError."""
    if asked.identity is not None:
        units = [unit_name(asked.identity)]
    else:
        known = _lines(["journalctl", "--no-pager", "--quiet", f"--field={_UNIT}"])
        units = sorted(unit for unit in known if _is_of(asked.model, unit))
    _show(journal_command(asked, units or [unit_name(InstanceId(asked.model, 1))]))


def journal_command(asked: Asked, units: Sequence[str]) -> list[str]:
    """By what journald knows of who wrote a line, and what systemd wrote of a unit: `--unit=`
    would take what anybody writes in the form of a core dump's record, too."""
    form = "short-iso" if asked.identity is not None else "with-unit"
    command = ["journalctl", "--no-pager", f"--output={form}", f"--lines={asked.most}"]
    command += ["--follow"] if asked.follow else []
    command += ["--priority=err"] if asked.errors else []
    return [
        *command,
        *(f"{_UNIT}={unit}" for unit in units),
        *("+", "_PID=1", *(f"UNIT={unit}" for unit in units)),
    ]


def _is_of(model: str, unit: str) -> bool:
    name = unit.removeprefix("edge-model@").removesuffix(".service")
    try:
        identity = InstanceId.parse(name)
    except UsageError:
        return False
    return identity.model == model and unit == unit_name(identity)


def pod_lines(asked: Asked, namespace: str) -> Iterator[str]:
    """Lines of pods, by kubectl. Raises UnavailableError."""
    lines = _lines(pod_command(asked, namespace))
    if asked.errors:
        keep = ErrorFilter().keep
        lines = (line for line in lines if keep(line))
    yield from lines if asked.follow else deque(lines, maxlen=asked.most)


def pod_command(asked: Asked, namespace: str) -> list[str]:
    name = object_name(asked.model)
    # What is an error is seen here, so that all have to come.
    tail = -1 if asked.errors else asked.most
    command = ["kubectl", "logs", f"--namespace={namespace}", f"--tail={tail}"]
    command += ["--follow"] if asked.follow else []
    if asked.identity is not None:  # a StatefulSet's pods are numbered from 0
        return [*command, f"{name}-{asked.identity.number - 1}"]
    labels = ",".join(f"{key}={value}" for key, value in selector(name).items())
    return [*command, f"--selector={labels}", "--prefix", f"--max-log-requests={_MOST_PODS}"]


def _show(command: Sequence[str]) -> None:
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise _missing(command, error) from error
    _check(command, ended.returncode)


def _lines(command: Sequence[str]) -> Iterator[str]:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise _missing(command, error) from error
    with process:
        try:
            assert process.stdout is not None
            yield from (line.rstrip("\r\n") for line in process.stdout)
        except BaseException:
            process.kill()  # nobody reads the rest
            raise
    _check(command, process.returncode)


def _missing(command: Sequence[str], error: OSError) -> UnavailableError:
    return UnavailableError(f"{command[0]} can't be run: {error.strerror}; is it installed?")


def _check(command: Sequence[str], code: int) -> None:
    """What it complained of stands on standard error."""
    if code not in (0, -signal.SIGPIPE, -signal.SIGINT):
        raise UnavailableError(f"{command[0]} {how_it_ended(code)}")
