"""Files that are replaced as a whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace_text(file: Path, text: str, *, mode: int | None = None, durable: bool = False) -> None:
    """Make `file` hold `text`: whoever reads meets the old or the new, whenever the process dies.

    With `durable` also when the host dies. Without a `mode`, the umask decides. Raises OSError, and
    leaves the old one then.
    """
    draft = file.with_name(f".{file.name}.new")
    try:
        with draft.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            if mode is not None:
                os.fchmod(out.fileno(), mode)
            if durable:
                os.fsync(out.fileno())
        draft.replace(file)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
