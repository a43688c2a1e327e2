"""Where a worker finds the files of root's that its configuration names."""

from __future__ import annotations

import os


def delivered(file: str, name: str) -> str:
    """The file's copy in the credentials directory, when the service manager made one there.

    A worker of systemd can't read what belongs to root; `LoadCredential=` hands it over.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is not None and os.path.exists(os.path.join(folder, name)):
        return os.path.join(folder, name)
    return file
