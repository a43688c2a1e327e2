"""Files that are replaced as a whole, and only when they differ."""

from __future__ import annotations

import os
from pathlib import Path


def read_text(file: Path) -> str | None:
    """The file's text; None when there is no such file."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def replace_text(file: Path, text: str, mode: int = 0o644) -> bool:
    """Make `file` hold `text`; whoever reads meets the old or the new. True when it differed."""
    if read_text(file) == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.new")
    with open(draft, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as out:
        out.write(text)
        out.flush()
        os.fchmod(out.fileno(), mode)
    os.replace(draft, file)
    return True
