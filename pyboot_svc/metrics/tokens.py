"""Each worker's token: by it, it proves to the master which instance it is.

The worker has the token itself, the master the hashes of all. A token is 256 bits at random: a
plain digest of it tells nobody what it is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pyboot_svc.credentials import first_line
from pyboot_svc.identity import NAME_PATTERN, InstanceId

# Of the credential, too.
TOKEN_NAME = "report-token"
TOKENS = "tokens"
HASHES = "tokens.json"
_LONGEST = 200
_SHARED = "-any"


def shared_name(model: str) -> str:
    """Whose token, or certificate, is good for any instance of a model: that of pods that come and
    go. No instance is called so."""
    return model + _SHARED


def is_shared(name: str) -> bool:
    model = name.removesuffix(_SHARED)
    return name.endswith(_SHARED) and NAME_PATTERN.fullmatch(model) is not None


def token_file(run_dir: Path, identity: InstanceId) -> Path:
    """Who runs the instances keeps it there; nobody else can read it."""
    return run_dir / TOKENS / str(identity)


def hashes_file(run_dir: Path) -> Path:
    return run_dir / HASHES


def worker_token(run_dir: Path, identity: InstanceId) -> Path:
    """Where a worker finds its own: where its service manager has put it, or in `run_dir`."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    delivered = Path(credentials, TOKEN_NAME) if credentials else None
    if delivered is not None and delivered.exists():
        return delivered
    return token_file(run_dir, identity)


def read_token(file: Path) -> str:
    """Empty where there is none."""
    try:
        with file.open("rb") as lines:
            token = first_line(lines.readline(_LONGEST)).strip()
    except (OSError, ValueError):
        return ""
    return token if token.isascii() else ""


def read_hashes(file: Path) -> dict[str, str] | None:
    """By instance; None where no tokens were made. One that can't be read has nobody's."""
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        document = None
    return document if isinstance(document, dict) else {}
