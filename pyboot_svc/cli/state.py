"""The folders in which instances keep their state, as commands find them."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from pyboot_svc.cli.arguments import STATE_DIR
from pyboot_svc.errors import UsageError
from pyboot_svc.files import names_in
from pyboot_svc.identity import InstanceId
from pyboot_svc.text import path_text


def found_state_dir() -> Path:
    """That of the `pyboot up` that this user runs; without one, where services keep theirs."""
    from pyboot_svc.cli.running import one_of, running_ups

    up = one_of(running_ups(), None, "--state-dir")
    if up is None:
        return STATE_DIR
    others = f"; services': --state-dir {STATE_DIR}" if STATE_DIR.exists() else ""
    where = path_text(up.state_dir)
    print(f"pyboot: of the running `pyboot up`, in {where}{others}", file=sys.stderr)
    return Path(up.state_dir)


def known_instances(state_dir: Path) -> list[InstanceId]:
    """The instances that have a folder in `state_dir`, whoever may read it."""
    found = []
    for name in names_in(state_dir):
        with suppress(UsageError):  # not one of ours
            found.append(InstanceId.parse(name))
    return sorted(found)
