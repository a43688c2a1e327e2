"""What a user names may lie where this user may not look: that is said, or is as if it weren't
there, and never an internal error."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.locked import locked

from pyboot_svc.cli import main
from pyboot_svc.cli.config_file import has_config
from pyboot_svc.errors import ModelError, UnavailableError, UsageError
from pyboot_svc.metrics.protocol import listening_path, socket_path
from pyboot_svc.model.loader import examine
from pyboot_svc.model.state_use import keeps_state
from pyboot_svc.services.environments import Source, create_environment, list_environments
from pyboot_svc.sockets.unix import open_listener
from pyboot_svc.worker.delivery.told_dead_letters import tell_dead_letters
from pyboot_svc.worker.storage.database import read_state
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter


@pytest.fixture
def closed(open_folder: Path) -> Iterator[Path]:
    """A folder in one that nobody may enter."""
    folder = open_folder / "private" / "folder"
    folder.mkdir(parents=True)
    with locked(folder.parent):
        yield folder


def test_a_state_directory_has_nothing_to_read(closed: Path) -> None:
    file = closed / DATABASE_NAME
    assert DatabaseWriter(file).open_if_there() is None
    assert read_state(file) == {}
    assert tell_dead_letters(file, "dead") is not None


def test_a_run_directory_is_one_where_no_socket_can_be_made(closed: Path) -> None:
    assert listening_path(closed) == socket_path(closed)
    with pytest.raises(UnavailableError, match=r"can't be made: .* with --run-dir"):
        open_listener(listening_path(closed))


def test_a_model_path_has_no_model(closed: Path) -> None:
    with pytest.raises(ModelError, match="there is no module 'closed_model'"):
        examine("closed_model.run", [str(closed)])
    assert not keeps_state("closed_model.run", [str(closed)])


def test_environments(closed: Path, open_folder: Path) -> None:
    with pytest.raises(UnavailableError, match="can't be read: Permission denied"):
        list_environments(closed)
    with pytest.raises(UsageError, match="there is no"):
        create_environment(open_folder / "new", Source(closed / "requirements.txt"), show=False)


def test_a_trace_of_what_can_not_be_looked_at(
    closed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", "pump", "--run-dir", str(closed), "--state-dir", str(closed)]) == 64
    assert "no instance pump runs that can be looked at" in capsys.readouterr().err


def test_a_configuration_may_be_there(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pyboot purge` would remove what it names."""
    monkeypatch.delenv("PYBOOT_CONFIG", raising=False)
    file = closed / "config.yaml"
    monkeypatch.setattr("pyboot_svc.cli.config_file.DEFAULT_CONFIG_FILE", file)
    assert has_config(Namespace(config=None))
