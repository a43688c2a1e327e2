"""Who runs an instance holds its state directory; nobody else gets it meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.locked import locked

from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.worker.storage.claim import claim_state

PUMP = InstanceId("pump", 1)
HOLDER = """
import os, sys
from pathlib import Path
from pyboot_svc.identity import InstanceId
from pyboot_svc.worker.storage.claim import claim_state
assert claim_state(Path(sys.argv[1]), InstanceId("pump", 1)) is not None
child = os.fork()  # as a model may, whose children can outlive it
if child == 0:
    sys.stdin.read()
    os._exit(0)
print("ready", flush=True)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_another_process_is_refused_until_the_first_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "pump-1"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(UnavailableError) as refused:
            claim_state(folder, PUMP)
        holder.send_signal(number)
        holder.wait()
        held = claim_state(folder, PUMP)
        assert holder.stdin is not None
        holder.stdin.close()  # which ends the child
    assert held is not None
    os.close(held)
    assert refused.value.exit_code == ExitCode.UNAVAILABLE
    said = str(refused.value)
    assert said.startswith(f"pump-1 runs already, as process {holder.pid}, which holds {folder}")
    assert said.endswith("; stop that one first")


def test_what_was_left_by_a_process_that_ended_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4711")
    held = claim_state(tmp_path, PUMP)
    assert held is not None
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    os.close(held)


def test_where_nothing_can_be_kept_it_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert claim_state(tmp_path / "file" / "pump-1", PUMP) is None


def test_a_folder_of_somebody_else_is_not_run_beside() -> None:
    """As /var/lib/edge-model/NAME-N is to who isn't root: seen, and closed."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "pump-1"
        folder.mkdir()
        Path(base).chmod(0o755)
        with (
            locked(folder),
            pytest.raises(UnavailableError, match="pump-1 belongs to another user"),
        ):
            claim_state(folder, PUMP)
