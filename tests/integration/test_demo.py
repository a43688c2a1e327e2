"""`make run`'s program: it shows figures, ends by itself or on Ctrl-C, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.poll import until

RUN = Path(__file__).parents[2] / "docs" / "demo" / "run.py"


def _processes_of(folder: Path) -> dict[int, str]:
    """The command lines or titles of processes whose environment names `folder`."""
    found = {}
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={folder}".encode() in environ.read_bytes().split(b"\0"):
                found[int(environ.parent.name)] = environ.with_name("cmdline").read_text()
        except OSError:
            continue  # it has just ended, or is not ours
    return found


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Marks the demo's processes, so that the test can tell whether they are gone."""
    yield {**os.environ, "TMPDIR": str(tmp_path)}
    left = _processes_of(tmp_path)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert left == {}
    assert list(tmp_path.glob("pyboot-*")) == []


def test_it_ends_after_its_duration_with_a_summary(environment: dict[str, str]) -> None:
    command = [sys.executable, str(RUN), "--duration", "3"]
    ended = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("web: http://127.0.0.1:")
    assert sum("in " in line and "p99" in line and "errors 0" in line for line in lines[1:5]) >= 2
    assert "the plant published" in ended.stdout
    assert "telm_temperature-2" in ended.stdout


def test_ctrl_c_on_a_terminal_stops_everything_within_five_seconds(
    environment: dict[str, str],
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        # A shell without job control starts what is in the background deaf for Ctrl-C, us too.
        ["env", "--default-signal=INT", sys.executable, str(RUN)],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = bytearray()

    def table_is_live() -> bool:
        try:
            shown.extend(os.read(ours, 65536))
        except BlockingIOError:
            pass
        return shown.count(b"\x1b[H\x1b[J") >= 2 and bool(
            re.search(rb"threshold_alarm-1 +ready", shown)
        )

    try:
        until(table_is_live, "a live table")
        process.send_signal(signal.SIGINT)
        # Its last words have to be read, or it would wait for the terminal.
        os.set_blocking(ours, True)
        assert process.wait(5) == 0
    finally:
        process.terminate()
        os.close(ours)
        process.wait(20)
