"""What root keeps of each instance, and its service manager hands to it alone, as a credential."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.config.compiled import COMPILED_NAME, compiled_file
from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.tokens import TOKEN_NAME, token_file


def own_files(run_dir: Path, identity: InstanceId) -> dict[str, str]:
    """By the names of the credentials."""
    return {
        TOKEN_NAME: str(token_file(run_dir, identity)),
        COMPILED_NAME: str(compiled_file(run_dir, identity)),
    }
