"""One apply at a time, and nobody but root holds it up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.errors import UnavailableError
from pyboot_svc.services.folders import make_folders
from pyboot_svc.services.lock import alone

HOLD = """
import sys
from pathlib import Path
from pyboot_svc.services.lock import alone
with alone(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    make_folders(tmp_path / "run")
    return tmp_path / "run"


@contextmanager
def held(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(run_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.communicate()


def test_one_that_is_held_for_too_long_is_said_with_its_holder(run_dir: Path) -> None:
    said: list[str] = []
    with (
        held(run_dir) as other,
        pytest.raises(UnavailableError, match="has not finished within 0 s") as raised,
        alone(run_dir, said.append, 0.2),
    ):
        pytest.fail("two at once")
    for text in (str(raised.value), *said):
        assert f"process {other.pid}, {sys.executable} -c" in text
    assert len(said) == 1


def test_one_that_is_given_up_can_be_taken(run_dir: Path) -> None:
    with held(run_dir) as other:
        other.kill()
        with alone(run_dir, print, 20):
            pass
    with alone(run_dir, print, 0):
        pass


def test_one_that_ends_while_another_waits(run_dir: Path) -> None:
    with held(run_dir) as other:
        assert other.stdin is not None
        told = []

        def let_go(text: str) -> None:
            told.append(text)
            other.communicate()

        with alone(run_dir, let_go, 20):
            assert len(told) == 1


def test_only_its_owner_can_open_it(run_dir: Path) -> None:
    with alone(run_dir, print):
        [lock] = (run_dir / "locks").iterdir()
        assert (lock.stat().st_mode | lock.parent.stat().st_mode) & 0o077 == 0
        assert lock.read_text() == str(os.getpid())
    until(lambda: lock.read_text() == "", "nobody is named any more")


def test_a_link_in_its_place_is_not_followed(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("as it was")
    (run_dir / "locks" / "apply").symlink_to(tmp_path / "precious")
    with pytest.raises(UnavailableError, match="symbolic link"), alone(run_dir, print):
        pytest.fail("it was followed")
    assert (tmp_path / "precious").read_text() == "as it was"
