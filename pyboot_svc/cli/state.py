"""The folders in which instances keep their state, as commands find them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from pyboot_svc.cli.arguments import STATE_DIR
from pyboot_svc.errors import UnavailableError, UsageError
from pyboot_svc.identity import InstanceId


def found_state_dir() -> Path:
    """That of the `pyboot up` that this user runs; without one, where services keep theirs."""
    from pyboot_svc.cli.running import one_of, running_ups

    up = one_of(running_ups(), None, "--state-dir")
    if up is None:
        return STATE_DIR
    others = f"; services': --state-dir {STATE_DIR}" if STATE_DIR.exists() else ""
    print(f"pyboot: of the running `pyboot up`, in {up.state_dir}{others}", file=sys.stderr)
    return Path(up.state_dir)


def known_instances(state_dir: Path) -> list[InstanceId]:
    """The instances that have a folder in `state_dir`, whoever may read it."""
    try:
        names = os.listdir(state_dir)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnavailableError(
            f"{state_dir} can't be read: {error.strerror}; try as root (sudo)"
        ) from error
    found = []
    for name in names:
        with suppress(UsageError):  # not one of ours
            found.append(InstanceId.parse(name))
    return sorted(found)
