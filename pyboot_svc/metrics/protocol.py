"""What is said on the metrics socket.

A worker says hello once, `{"instance": NAME-N, "pid": PID, "version": V}`, then answers every
`?` line with one line: its snapshot, a JSON object.
"""

from __future__ import annotations

from pathlib import Path

SOCKET_NAME = "metrics.sock"
ASK = b"?\n"
LONGEST_HELLO = 4096


def socket_path(run_dir: Path) -> Path:
    return run_dir / SOCKET_NAME
