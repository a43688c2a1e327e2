"""Commands as processes in the environments of models."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.environment import make_environment

from pyboot_svc.environments.interpreter import EnvironmentUnusable
from pyboot_svc.services.guests import run_guest


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    return make_environment(tmp_path / "venv")


def test_what_it_prints(environment: Path) -> None:
    assert run_guest(str(environment), ["--version"], (0,)).startswith("pyboot ")


def test_an_end_that_is_no_answer(environment: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="`pyboot nonsense` ended with exit code 64"):
        run_guest(str(environment), ["nonsense"], (0, 78))


def test_what_can_not_be_run(tmp_path: Path) -> None:
    file = tmp_path / "python3.12"
    file.write_bytes(b"\x7fELF")
    file.chmod(0o755)
    with pytest.raises(EnvironmentUnusable, match="can't be run: Exec format error"):
        run_guest(str(file), ["check"], (0,))


def test_what_is_not_there() -> None:
    with pytest.raises(EnvironmentUnusable, match="there is no /no/such"):
        run_guest("/no/such", ["check"], (0,))
