"""The folders in which instances keep their state, as commands find them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pyboot_svc.errors import UnavailableError, UsageError
from pyboot_svc.identity import InstanceId


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
