"""A process's system calls, counted by strace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.app import Running
from support.poll import until


def need_strace() -> None:
    """Skip the test where processes can't be traced, as in some containers."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run(
        ["strace", "-f", "-c", "-o", "/dev/null", "true"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")


class Traced(Running):
    """A `pyboot` command whose system calls, those of all its threads, are counted to its end."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._summary = folder / "system-calls"
        self._summary.unlink(missing_ok=True)
        strace = ["strace", "-f", "-c", "-U", "name,calls", "-o", str(self._summary)]
        super().__init__(folder, *arguments, within=strace)

    def finish(self) -> dict[str, int]:
        """Stop the command cleanly; gives how often it made each call."""
        os.kill(self._command_pid(), signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log
        return _counts(self._summary.read_text())

    def close(self) -> None:
        if self.process.poll() is None:
            # strace lets no signal end it before the command's end.
            os.kill(self._command_pid(), signal.SIGKILL)
        super().close()

    def _command_pid(self) -> int:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return int(until(lambda: children.read_text().split(), "strace has started it")[0])


def _counts(summary: str) -> dict[str, int]:
    rows = (line.split() for line in summary.splitlines())
    counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    counts.pop("total", None)
    assert counts, summary
    return counts
