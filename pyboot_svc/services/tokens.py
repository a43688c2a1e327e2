"""Makes the tokens by which workers prove to the master which instance they are."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from pyboot_svc.errors import UnavailableError, UsageError
from pyboot_svc.files import replace_text
from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.tokens import TOKENS, hashes_file, is_shared, read_token
from pyboot_svc.services.files import update_text

_BYTES = 32


def issue_tokens(run_dir: Path, holders: Iterable[InstanceId | str]) -> dict[str, str]:
    """Each instance, or whoever shares a token (`shared_name`), has one from now on, which only
    this user can read, and the master its hash.

    Gives the hashes of all. Raises UnavailableError.
    """
    folder = run_dir / TOKENS
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (folder / str(holder) for holder in holders):
            if not read_token(file):
                replace_text(file, secrets.token_hex(_BYTES) + "\n", mode=0o600)
        names = sorted(os.listdir(folder))
        hashes = {name: _hash(folder / name) for name in names if _is_holder(name)}
        update_text(hashes_file(run_dir), json.dumps(hashes, indent=1) + "\n")
    except OSError as error:
        raise UnavailableError(f"{folder} can't be written: {error.strerror}") from error
    return hashes


def withdraw_tokens(run_dir: Path, kept: Collection[InstanceId]) -> None:
    """Only these keep theirs."""
    names = set(map(str, kept))
    for name in os.listdir(run_dir / TOKENS):
        if name not in names:
            with suppress(OSError):
                (run_dir / TOKENS / name).unlink()
    issue_tokens(run_dir, kept)


def _hash(file: Path) -> str:
    return hashlib.sha256(read_token(file).encode()).hexdigest()


def _is_holder(name: str) -> bool:
    try:
        InstanceId.parse(name)
    except UsageError:
        return is_shared(name)
    return True
