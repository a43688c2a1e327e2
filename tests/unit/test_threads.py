from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.threads import spawn


def test_the_kernel_knows_the_thread_by_its_name() -> None:
    go = threading.Event()

    def run() -> None:
        go.wait(20)

    thread = spawn("model-7", run)
    try:
        names = Path(f"/proc/self/task/{thread.native_id}/comm")
        until(lambda: names.read_text() == "model-7\n", "the thread is named")
        assert (thread.name, thread.daemon) == ("model-7", True)
    finally:
        go.set()


@pytest.mark.parametrize("error", [ValueError("bug"), SystemExit(3), KeyboardInterrupt()])
def test_a_death_is_logged_and_noticed(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        raise error

    crashed = threading.Event()
    spawn("doomed", run, crashed.set).join(20)
    assert crashed.is_set()
    [record] = caplog.records
    assert record.getMessage() == "thread doomed: internal error"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_death_that_nobody_waits_for_ends_the_process() -> None:
    """Exit code 70: an internal error."""
    code = (
        "import threading; from pyboot_svc.threads import spawn; "
        "spawn('doomed', lambda: [][0]); threading.Event().wait(60)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 70
    assert "thread doomed: internal error" in ended.stderr
    assert "IndexError" in ended.stderr


def test_a_thread_that_ends_by_itself_is_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    crashed = threading.Event()
    spawn("good", lambda: None, crashed.set).join(20)
    assert not crashed.is_set()
    assert caplog.records == []
