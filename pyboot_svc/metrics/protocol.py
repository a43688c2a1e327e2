"""What is said on the metrics socket.

A worker says hello once, `{"instance": NAME-N, "pid": PID, "version": V, "token": T}`, then answers
every `?` line with one line: its snapshot, a JSON object. What else it may be asked is in
`letters`; a question that it doesn't know it doesn't answer.
"""

from __future__ import annotations

import os
from pathlib import Path

SOCKET_NAME = "metrics.sock"
ASK = b"?\n"
LONGEST_HELLO = 4096


def socket_path(run_dir: Path) -> Path:
    return run_dir / SOCKET_NAME


def listening_path(run_dir: Path) -> Path:
    """Where the master makes it: there, or where a link leads that root has put there, since the
    folder is root's and nobody else can make anything in it."""
    path = socket_path(run_dir)
    return path.resolve() if os.path.islink(path) else path
