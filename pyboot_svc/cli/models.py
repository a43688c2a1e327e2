"""How commands take models: as root only what is root's alone, and then without root's rights, each
in the environment that it is made for."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from pyboot_svc.cli.payloads import read_file
from pyboot_svc.config import Edge, InstanceConfig
from pyboot_svc.environments.interpreter import (
    EnvironmentUnusable,
    enter,
    environment_folders,
    is_here,
)
from pyboot_svc.model.fingerprint import source_files
from pyboot_svc.services.child import how_it_ended
from pyboot_svc.services.forked_child import ChildEnded
from pyboot_svc.services.lending import Places
from pyboot_svc.services.trust import require_roots_own
from pyboot_svc.services.unprivileged import without_rights

_FAILED = 1


def run_models(
    edges: Sequence[Edge],
    model_path: Sequence[str],
    run: Callable[[Places], int],
    state: Path = Path(),
    credentials: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Call `run` where it may import these models, and give its exit code.

    It is given the way to `state`, whose owner it is run as when that isn't root, and a folder for
    what it makes; it may read the models' secrets and the files of `credentials`. A model that ends
    the process is a failure, and said. Raises Untrusted when root is to take what others can write,
    and what `run` raises.
    """
    try:
        return _run(edges, model_path, run, state, credentials)
    except ChildEnded as ended:
        print(f"pyboot: {process_ended(ended.code)}", file=sys.stderr)
        return ended.shells_code or _FAILED


def run_elsewhere(
    config: InstanceConfig,
    files: Mapping[str, Path | None],
    state: Path = Path(),
    credentials: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Have this command run again in the model's own environment, and give its exit code.

    `files` are those that its options name, by these; who runs it may not be able to read them.
    `state` is the instance's, below --state-dir. For the rest see `run_models`.
    """
    edge = config.edge
    given = {option: file for option, file in files.items() if file is not None}
    handed = [f"{option}={_handed(file)}" for option, file in given.items()]

    def go_on(places: Places) -> int:
        below = [] if places.state == state else [f"--state-dir={places.state}/.."]
        enter(edge.python, edge.variables, [*handed, *below])
        raise AssertionError("it is at work there already")

    try:
        return _run([edge], config.model_path, go_on, state, credentials)
    except ChildEnded as ended:
        return ended.shells_code


def process_ended(code: int) -> str:
    """By a model, when nobody expected it; `code` as `subprocess` gives it."""
    told = f"{how_it_ended(code)} before its work was done"
    if code >= 0:
        return f"the model's process {told}, as os._exit ends it: raise an exception instead"
    more = "; memory may have run out" if code == -signal.SIGKILL else ""
    return f"the model's process was {told}{more}"


def _run(
    edges: Sequence[Edge],
    model_path: Sequence[str],
    run: Callable[[Places], int],
    state: Path,
    credentials: Mapping[str, str],
) -> int:
    places = model_places(edges, model_path)
    require_roots_own(places)
    lent = {**secrets_of(edges), **credentials}

    def begin(given: Places) -> int:
        with suppress(ValueError, OSError):  # where standard error is no file
            faulthandler.enable()  # where a C library ends it, its line in the model is shown
        return run(given)

    return without_rights(begin, places, groups_of(edges), state, lent)


def model_places(edges: Iterable[Edge], model_path: Sequence[str]) -> list[Path]:
    """The folders that models may be imported from, their files that are known of, and the
    environments that they run in."""
    folders = [*map(Path, model_path)]
    for edge in edges:
        folders += [*source_files(edge.edge_mode, model_path), *_environment(edge.python)]
    return list(dict.fromkeys(folders))


def secrets_of(edges: Iterable[Edge]) -> dict[str, str]:
    """The files of the models' secrets, by the names of credentials."""
    return {name: file for edge in edges for name, file in edge.secret_files.items()}


def groups_of(edges: Iterable[Edge]) -> list[str]:
    """What a worker belongs to beside its own, where that isn't as good as root."""
    return [name for edge in edges if not edge.sandbox.privileged for name in edge.sandbox.groups]


def _handed(file: Path) -> str:
    """A name by which another user can read what root can."""
    if os.geteuid() != 0:
        return str(file)
    copy = os.memfd_create(file.name, 0)  # which is inherited
    with open(copy, "wb", closefd=False) as out:
        out.write(read_file(file))
    return f"/proc/self/fd/{copy}"


def _environment(python: str | None) -> Iterable[Path]:
    try:
        return () if is_here(python) else map(Path, environment_folders(python))
    except EnvironmentUnusable:  # which who enters it says
        return ()
