"""Files that are replaced as a whole, and what is in a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pyboot_svc.errors import UnavailableError, in_words

_RANDOM_BYTES = 8


def replace_text(file: Path, text: str, *, mode: int | None = None, durable: bool = False) -> None:
    """Make `file` hold `text`: whoever reads meets the old or the new, whenever the process dies.

    With `durable` also when the host dies. Without a `mode`, the umask decides. Raises OSError, and
    leaves the old one then.
    """
    # A new one under a name that nobody can guess: in a folder where others write, what lies there
    # already may lead elsewhere.
    draft = file.with_name(f".{file.name}.{os.urandom(_RANDOM_BYTES).hex()}.new")
    try:
        with open(draft, "x", encoding="utf-8", opener=_new_file) as out:
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


def names_in(folder: Path) -> list[str]:
    """What is in it; nothing where it isn't there. Raises UnavailableError where it can't be read,
    as by one who may not."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnavailableError(f"{folder} can't be read: {in_words(error)}") from error


def _new_file(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_EXCL | os.O_NOFOLLOW, 0o666)
