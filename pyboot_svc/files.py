"""Files that are read and replaced as a whole, and what is in a folder."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pyboot_svc.errors import UnavailableError, in_words

_RANDOM_BYTES = 8
# What is asked for at once is room that is taken, however little there is to read.
_PART_BYTES = 256 * 1024


def read_all(file: Path | str, most_bytes: int) -> bytes:
    """What is in it, or comes out of it, which may be a pipe: raises OSError, also for more than
    `most_bytes`, since /dev/zero has no end."""
    with open(file, "rb") as opened:
        return _read(opened, file, most_bytes)


def read_regular(file: Path | str, most_bytes: int) -> bytes:
    """As `read_all`, and never waits: raises OSError for what is no file on a disk, as a pipe."""
    with open(file, "rb", opener=_without_waiting) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, and no file", str(file))
        return _read(opened, file, most_bytes)


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


def _read(opened: BinaryIO, file: Path | str, most_bytes: int) -> bytes:
    parts, left = [], most_bytes
    while part := opened.read(_PART_BYTES):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise OSError(errno.EINVAL, f"it has more than {most_bytes} bytes", str(file))
    return b"".join(parts)


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def _new_file(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_EXCL | os.O_NOFOLLOW, 0o666)
