"""`pyboot purge`: removes what instances that are no longer configured have kept."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pyboot_svc.cli.arguments import STATE_DIR, add_config, add_state_dir
from pyboot_svc.cli.config_file import config_file, has_config
from pyboot_svc.cli.state import known_instances
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ExitCode, UnavailableError, UsageError, in_words, told
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.live import applied_states
from pyboot_svc.services.unprivileged import as_owner
from pyboot_svc.services.users import remove_user
from pyboot_svc.text import counted, path_text, printable
from pyboot_svc.worker.storage.claim import is_claimed
from pyboot_svc.worker.storage.database import ERRORS, connect_strange
from pyboot_svc.worker.storage.writer import DATABASE_NAME

DESCRIPTION = """\
Show what an instance, or all instances of a model, have left in their state folders:
its size, results that were not sent, dead letters. With --yes it is removed for
good. What is still configured, applied or running is not removed; `pyboot plan`
names what is left over."""
EXAMPLES = (
    ("sudo pyboot purge mean", "what have its instances left?"),
    ("sudo pyboot purge mean-2 --yes", "remove that of one instance"),
)
_STATEMENT_SECONDS, _ANSWER_SECONDS = 10.0, 60.0
_UNITS = ("B", "kB", "MB", "GB", "TB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "name", metavar="NAME[-INSTANCE]", help="an instance, or all instances of a model"
    )
    parser.add_argument("--yes", action="store_true", help="remove it (default: only show it)")
    add_state_dir(parser, "where instances keep their state")


def run(options: argparse.Namespace) -> ExitCode:
    """Without --yes it only shows what would be removed."""
    chosen = _chosen(options)
    _refuse_what_is_wanted(options, chosen)
    for identity in chosen:
        print(_described(options.state_dir, identity), flush=True)
    if not options.yes:
        raise UsageError("nothing has been removed yet; add --yes to remove this for good")
    for identity in chosen:
        _remove(options.state_dir, identity)
        if options.state_dir == STATE_DIR and os.geteuid() == 0:
            remove_user(identity)
        print(f"{identity}: removed")
    return ExitCode.OK


def _chosen(options: argparse.Namespace) -> list[InstanceId]:
    """The one instance of that name, or all of a model."""
    known = known_instances(options.state_dir)
    chosen = [identity for identity in known if str(identity) == options.name]
    chosen = chosen or [identity for identity in known if identity.model == options.name]
    if not chosen:
        there = f"there are {', '.join(map(str, known))}" if known else "there is none"
        raise UsageError(f"no instance {options.name} has state in {options.state_dir}: {there}")
    return chosen


def _refuse_what_is_wanted(options: argparse.Namespace, chosen: list[InstanceId]) -> None:
    file = config_file(options)
    configured = set()
    if has_config(options):
        configured = {instance.identity for instance in load_config(file).instances()}
    applied = applied_states()
    for identity in chosen:
        if identity in configured:
            raise UsageError(
                f"{identity} is configured in {file}: remove it there, and run `pyboot apply`, "
                "before you remove its state"
            )
        if identity in applied:
            raise UsageError(f"{identity} is still applied: run `pyboot apply` first")
        if _is_claimed(options.state_dir / str(identity)):
            raise UnavailableError(f"{identity} is running: stop it first")


def _described(state_dir: Path, identity: InstanceId) -> str:
    folder = state_dir / str(identity)

    def ask(entered: Path) -> Iterator[dict[str, Any]]:
        yield {"size": _size(entered), "kept": _kept(entered / DATABASE_NAME)}

    [found] = as_owner(folder, ask, _ANSWER_SECONDS)
    held = ", ".join([_readable(int(found["size"])), *map(printable, found["kept"])])
    return f"{identity}: {path_text(folder)}: {held}"


def _is_claimed(folder: Path) -> bool:
    [found] = as_owner(folder, lambda entered: [{"claimed": is_claimed(entered)}], _ANSWER_SECONDS)
    return bool(found["claimed"])


def _size(folder: Path) -> int:
    """What it takes on the disk."""

    def fail(error: OSError) -> None:
        raise UnavailableError(f"{error.filename} can't be read: {in_words(error)}") from error

    return sum(
        os.lstat(os.path.join(parent, name)).st_blocks * 512
        for parent, _, names in os.walk(folder.resolve(), onerror=fail)
        for name in names
    )


def _readable(size: float) -> str:
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _kept(file: Path) -> list[str]:
    """What would be lost that somebody may want."""
    if not file.exists():
        return []
    try:
        with closing(connect_strange(file, _STATEMENT_SECONDS)) as connection:
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("spool", "dead", "state")
            ]
    except ERRORS:
        return ["a database that can't be read"]
    waiting, dead, keys = counts
    words = (
        f"{waiting} not sent yet, of results and dead letters",
        f"{counted(dead, 'dead letter')} kept",
        f"{counted(keys, 'key')} of context.state",
    )
    return [text for count, text in zip(counts, words, strict=True) if count]


def _remove(state_dir: Path, identity: InstanceId) -> None:
    """The folder, and under systemd the link to it."""
    folder = state_dir / str(identity)
    target = folder.resolve()
    if target.name != folder.name:
        raise UnavailableError(
            f"{folder} is a link to {target}, which you may need: remove both yourself"
        )
    try:
        shutil.rmtree(target)
        if folder.is_symlink():
            folder.unlink()
    except OSError as error:
        # The name in it is that in its own folder.
        raise UnavailableError(f"{target} can't be removed: {told(error)}") from error
