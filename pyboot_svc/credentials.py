"""Where a worker finds the files of root's that its configuration names, and how those are read."""

from __future__ import annotations

import os

from pyboot_svc.files import read_regular

# Far more than any has.
_MOST_BYTES = 16 * 1024**2


def delivered(file: str, name: str) -> str:
    """The file's copy in the credentials directory, when the service manager made one there.

    A worker of systemd can't read what belongs to root; `LoadCredential=` hands it over.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is not None and os.path.exists(os.path.join(folder, name)):
        return os.path.join(folder, name)
    return file


def read_credential(file: str) -> bytes:
    """A password, a key or a certificate; raises OSError."""
    return read_regular(file, _MOST_BYTES)


def first_line(data: bytes) -> str:
    """What a file of one password or token says, or standard input.

    Raises ValueError where it is no text, without a cause: that would quote what it stumbled over.
    """
    try:
        # An editor may have put a byte order mark in front.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    return text.partition("\n")[0].rstrip("\r")
