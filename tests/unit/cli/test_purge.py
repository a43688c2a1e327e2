"""`pyboot purge`: shows, and removes, what instances have left that are no longer configured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.locked import locked

from pyboot_svc.cli import main
from pyboot_svc.worker.storage.database import open_database
from pyboot_svc.worker.storage.writer import DATABASE_NAME

EDGE = (
    "edge: [{name: %s, instance: 2, edge_mode: a.b, pre_broker: h, pre_topic: in,"
    " post_broker: h, post_topic: out}]\n"
)

Purge = Callable[..., int]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of four instances, two of them of pump."""
    folder = tmp_path / "edge-model"
    for name in ("pump-1", "pump-2", "pump-2-1", "fan-1"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(b"x" * 5000)
    return folder


@pytest.fixture
def purge(state: Path, tmp_path: Path) -> Purge:
    def run(*arguments: str, configured: str = "fan") -> int:
        config = tmp_path / "config.yaml"
        config.write_text(EDGE % configured)
        return main(["purge", *arguments, "--state-dir", str(state), "--config", str(config)])

    return run


def left(state: Path) -> list[str]:
    return sorted(folder.name for folder in state.iterdir())


def test_without_yes_it_only_shows(
    purge: Purge, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_database(state / "pump-1" / DATABASE_NAME).close()
    before = left(state)
    assert purge("pump") == 64
    shown = capsys.readouterr()
    assert [line.split(":")[0] for line in shown.out.splitlines()] == ["pump-1", "pump-2"]
    assert f"pump-2: {state}/pump-2: 8.2 kB\n" in shown.out
    assert "add --yes" in shown.err
    assert left(state) == before


def test_what_would_be_lost_is_counted(
    purge: Purge, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = open_database(state / "pump-1" / DATABASE_NAME)
    database.execute("INSERT INTO state (key, value, checksum) VALUES ('a', '1', 0)")
    database.execute("INSERT INTO crashes (content, count, last) VALUES ('x', 1, 0)")
    database.close()
    (state / "pump-2" / DATABASE_NAME).write_bytes(b"x" * 5000)
    purge("pump")
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(", 1 key of context.state")
    assert second.endswith(", a database that can't be read")


@pytest.mark.parametrize(("name", "gone"), [("pump-2", ["pump-2"]), ("pump", ["pump-1", "pump-2"])])
def test_an_instance_or_all_of_a_model(
    purge: Purge, state: Path, name: str, gone: list[str]
) -> None:
    before = left(state)
    assert purge(name, "--yes") == 0
    assert left(state) == [folder for folder in before if folder not in gone]


def test_of_a_dynamic_user_the_folder_goes_and_the_link(purge: Purge, state: Path) -> None:
    private = state.parent / "private" / "edge-model"
    private.mkdir(parents=True)
    (state / "pump-1").rename(private / "pump-1")
    (state / "pump-1").symlink_to("../private/edge-model/pump-1")
    assert purge("pump-1", "--yes") == 0
    assert list(private.iterdir()) == []
    assert "pump-1" not in left(state)


def test_a_link_elsewhere_is_not_followed(purge: Purge, state: Path, tmp_path: Path) -> None:
    (state / "pump-1").rename(tmp_path / "data")
    (state / "pump-1").symlink_to(tmp_path / "data")
    assert purge("pump-1", "--yes") == 69
    assert (tmp_path / "data" / "file").exists()


def test_what_may_not_be_removed_is_named_with_its_folder(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_folder / "pump-1"
    folder.mkdir()
    (folder / "file").touch()
    config = open_folder / "config.yaml"
    config.write_text(EDGE % "fan")
    with locked(folder, 0o555):
        arguments = ["purge", "pump-1", f"--state-dir={open_folder}", f"--config={config}"]
        assert main([*arguments, "--yes"]) == 69
    said = capsys.readouterr().err
    assert (
        said == f"pyboot: {folder} can't be removed: file: Permission denied; try as root (sudo)\n"
    )


def test_what_is_configured_is_refused(
    purge: Purge, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = left(state)
    for name in ("pump", "pump-1"):
        assert purge(name, "--yes", configured="pump") == 64
        assert "pump-1 is configured in " in capsys.readouterr().err
    assert left(state) == before
    # The instance, not the model of that name.
    assert purge("pump-2", "--yes", configured="pump-2") == 0


def test_what_runs_is_refused(
    purge: Purge, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A lock of the process that asks is none to itself: it takes another one.
    code = (
        "import sys; from pathlib import Path; from pyboot_svc.identity import InstanceId;"
        "from pyboot_svc.worker.storage.claim import claim_state;"
        "claim_state(Path(sys.argv[1]), InstanceId('pump', 1)); print('held', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(state / "pump-1")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert purge("pump", "--yes") == 69
        holder.communicate()
    assert "pump-1 is running: stop it first" in capsys.readouterr().err
    assert {"pump-1", "pump-2"} <= set(left(state))
    assert purge("pump", "--yes") == 0


@pytest.mark.parametrize("name", ["mill", "pump-3", "..", "", "fan-1/.."])
def test_what_is_not_there(
    purge: Purge, state: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = left(state)
    assert purge(name, "--yes") == 64
    said = capsys.readouterr().err
    assert f"no instance {name} has state" in said
    assert "there are fan-1, pump-1, pump-2, pump-2-1" in said
    assert left(state) == before


def test_a_broken_configuration_removes_nothing(state: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("edge: [")
    arguments = ["--yes", "--state-dir", str(state), "--config", str(config)]
    assert main(["purge", "pump-1", *arguments]) == 78
    assert "pump-1" in left(state)
