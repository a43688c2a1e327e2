"""Files that are replaced only when they differ."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.files import replace_text


def read_text(file: Path) -> str | None:
    """The file's text; None when there is no such file. Raises UnavailableError when this user may
    not read it."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise UnavailableError(f"{file} is for its owner alone: run this by sudo") from error


def update_text(file: Path, text: str, *, mode: int = 0o644) -> bool:
    """Make `file` hold `text`, as a whole. True when it differed."""
    if read_text(file) == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, text, mode=mode)
    return True
