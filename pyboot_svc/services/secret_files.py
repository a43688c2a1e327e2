"""Whether a certificate, a key or a password is another one than when it was applied.

Services work with copies, made when they start: what has changed takes a restart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime

# Of a file that this user may not look at; not to be taken for a change.
UNSEEN = "unseen"
_ABSENT = "absent"


def versions_of(files: Mapping[str, str]) -> dict[str, str]:
    """By the names of `files`. Time and size tell: a digest, which anybody can read, would let a
    short password be guessed."""
    return {name: _version(file) for name, file in files.items()}


def _version(file: str) -> str:
    try:
        status = os.stat(file)
    except PermissionError:
        return UNSEEN
    except OSError:
        return _ABSENT
    changed = datetime.fromtimestamp(status.st_mtime_ns // 10**9, UTC)
    return f"{changed:%Y-%m-%dT%H:%M:%S}.{status.st_mtime_ns % 10**9:09}Z {status.st_size}"
