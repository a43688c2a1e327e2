"""Files that are replaced only when they differ."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.files import replace_text


def read_text(file: Path) -> str | None:
    """The file's text; None when there is no such file."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def update_text(file: Path, text: str) -> bool:
    """Make `file` hold `text`, as a whole. True when it differed."""
    if read_text(file) == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, text, mode=0o644)
    return True
