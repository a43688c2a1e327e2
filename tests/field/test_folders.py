"""Folders that are cleared away under what runs: nothing is inferred from a file's absence."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.app import Running, Up, run_pyboot
from support.broker import free_port
from support.client import Plant
from support.poll import until
from support.store import rows

from pyboot_svc.cli.private import PrivateFolder, touch
from pyboot_svc.config.compiled import compiled_file, retire_compiled
from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId

MODELS = "def same(payload): return payload\n"
LEAVING = "no longer configured: ending its session"


@pytest.fixture
def edge(topic: str) -> str:
    return (
        f"{{name: m, edge_mode: my_models.same, pre_qos: 1, pre_topic: {topic}/in, "
        f"post_topic: {topic}/out}}"
    )


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_up_goes_on_without_its_private_folder(
    write_config: Callable[..., Path],
    up: Callable[..., Up],
    plant: Plant,
    topic: str,
    edge: str,
    temporary: Path,
) -> None:
    master = up(write_config(edge, models=MODELS))
    plant.subscribe(f"{topic}/out")
    [private] = temporary.glob("pyboot-*")
    shutil.rmtree(private)
    plant.publish(f"{topic}/in", 1, qos=1)
    plant.wait_for(1)
    # A worker that dies now starts again with what it had, and reports.
    pid = master.instance("m-1")["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: master.instance("m-1").get("pid") not in (None, pid), "a new worker reports")
    master.wait_ready()
    plant.publish(f"{topic}/in", 2, qos=1)
    plant.wait_for(2)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert master.stop() == 0
    assert LEAVING not in master.log
    assert not private.exists()


def test_up_takes_nothing_from_who_has_its_private_folders_name_now(
    write_config: Callable[..., Path],
    up: Callable[..., Up],
    plant: Plant,
    topic: str,
    edge: str,
    temporary: Path,
    tmp_path: Path,
) -> None:
    other = f"def same(payload): open({str(tmp_path / 'run')!r}, 'x')\n"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "my_models.py").write_text(other)
    master = up(write_config(edge, models=MODELS), ready=True)
    [private] = temporary.glob("pyboot-*")
    squatter = tmp_path / "squatter"
    (squatter / "instances").mkdir(parents=True)
    compiled = json.loads((private / "instances" / "m-1.json").read_text())
    compiled["model_path"] = [str(tmp_path / "other")]
    (squatter / "instances" / "m-1.json").write_text(json.dumps(compiled))
    left = sorted(squatter.rglob("*"))
    shutil.rmtree(private)
    private.symlink_to(squatter)
    pid = master.instance("m-1")["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: master.instance("m-1")["restarts"] >= 3, "it is tried again")
    master.process.send_signal(signal.SIGHUP)
    master.wait_log("the configuration was not reloaded")
    assert master.log.count(f"m-1: can't be started: {private} was removed, and somebody") == 1
    assert "Traceback" not in master.log
    assert sorted(squatter.rglob("*")) == left
    # Once the name is free again, it goes on.
    private.unlink()
    master.wait_ready()
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1, qos=1)
    plant.wait_for(1)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not (tmp_path / "run").exists()


def test_up_leaves_what_has_its_private_folders_name_alone_at_its_end(
    write_config: Callable[..., Path], up: Callable[..., Up], edge: str, temporary: Path
) -> None:
    master = up(write_config(edge, models=MODELS))
    [private] = temporary.glob("pyboot-*")
    shutil.rmtree(private)
    other = temporary / "other"
    other.mkdir()
    (other / "metrics.sock").touch()
    private.symlink_to(other)
    assert master.stop() == 0
    assert [file.name for file in other.iterdir()] == ["metrics.sock"]
    assert private.is_symlink()


@pytest.fixture
def short_temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One whose sockets' paths are not too long."""
    with TemporaryDirectory() as name:
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


def test_up_says_how_it_does_without_its_private_folder(
    write_config: Callable[..., Path],
    up: Callable[..., Up],
    edge: str,
    short_temporary: Path,
    tmp_path: Path,
) -> None:
    master = up(write_config(edge, models=MODELS))
    [private] = short_temporary.glob("pyboot-*")
    shutil.rmtree(private)
    found = {"XDG_RUNTIME_DIR": str(tmp_path / "up")}
    logs = run_pyboot("logs", "m-1", env=found)
    if not Path("/run/systemd/system").exists():  # whose journal is asked then
        assert logs.returncode == 64
        assert "its file was removed: it comes again with the next line" in logs.stderr
    for name in ("m-1", "master"):
        ask = partial(run_pyboot, "health", name, "--run-dir", str(private))
        until(lambda ask=ask: ask().returncode == 0, f"{name} can be asked again")  # type: ignore[misc]
        assert run_pyboot("health", name, env=found).stdout == f"{name}: ready\n"
    master.wait_log("m-1/health.sock was removed; made it again")
    assert "made it again" in run_pyboot("logs", "m", env=found).stdout
    assert master.stop() == 0
    assert not private.exists()


def test_a_spool_that_is_removed_while_it_is_in_use_is_written_anew(
    write_config: Callable[..., Path],
    up: Callable[..., Up],
    plant: Plant,
    topic: str,
    edge: str,
    tmp_path: Path,
) -> None:
    """What was acknowledged before and after that is there for the next process."""
    post = f"post_port: {free_port()}, post_qos: 1"
    config = write_config(edge.replace("{name: m,", f"{{name: m, {post},"), models=MODELS)
    state = tmp_path / "state"
    master = up(config, "--state-dir", str(state), ready=False)
    master.wait_log("subscribed to")

    def spooled(count: int) -> bool:
        return bool(master.instance("m-1").get("spooled") == count)

    plant.publish_all(f"{topic}/in", [1, 2], 1)
    until(lambda: rows(state / "m-1", "SELECT id FROM spool") == [(1,), (2,)], "two are on disk")
    for file in (state / "m-1").glob("worker.sqlite*"):
        file.unlink()
    plant.publish_all(f"{topic}/in", [3, 4], 1)
    until(lambda: spooled(4), "two more")
    master.wait_log("was removed while in use: written anew")
    pid = master.instance("m-1")["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: master.instance("m-1").get("pid") not in (None, pid), "a new worker reports")

    def waiting() -> set[bytes]:
        return {payload for (payload,) in rows(state / "m-1", "SELECT payload FROM spool")}

    # Killed between a commit and its acknowledgement, it has the same message twice.
    until(lambda: waiting() == {b"1", b"2", b"3", b"4"}, "all four are there")


@pytest.mark.parametrize("retired", [True, False])
def test_only_who_is_told_so_ends_its_session(
    write_config: Callable[..., Path],
    track: Callable[[Running], Running],
    up: Callable[..., Up],
    plant: Plant,
    topic: str,
    edge: str,
    tmp_path: Path,
    retired: bool,
) -> None:
    run = tmp_path / "run"
    config = write_config(edge, models=MODELS)
    master = up(config, "--run-dir", str(run), "--state-dir", str(tmp_path / "state"))
    file = compiled_file(run, InstanceId("m", 1))
    if retired:
        retire_compiled(file)
    else:
        file.unlink()
    assert master.stop() == 0
    assert (LEAVING in master.log) == retired
    # What is published meanwhile waits in the session, if there still is one.
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1, qos=1)
    retired_mark = file.with_suffix(".retired")
    retired_mark.unlink(missing_ok=True)
    up(config, "--run-dir", str(run), "--state-dir", str(tmp_path / "state"))
    plant.publish(f"{topic}/in", 2, qos=1)
    plant.wait_for(1 if retired else 2)
    assert plant.payloads() == ([2] if retired else [1, 2])


@pytest.fixture
def private(temporary: Path) -> Iterator[PrivateFolder]:
    folder = PrivateFolder()
    yield folder
    folder.close()


def is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_a_private_folder_is_locked_against_systemd_tmpfiles(private: PrivateFolder) -> None:
    assert is_locked(private.path)
    private.close()
    assert not private.path.exists()


@pytest.mark.parametrize("of_a_worker", [False, True])
def test_a_private_folder_is_made_anew(private: PrivateFolder, of_a_worker: bool) -> None:
    private.path.rmdir()
    if of_a_worker:  # which came first
        private.path.mkdir()
        private.path.chmod(0o755)
    private.hold()
    assert stat.S_IMODE(private.path.stat().st_mode) == 0o700
    assert is_locked(private.path)
    private.close()
    assert not private.path.exists()


def test_what_is_no_folder_is_not_taken_for_the_private_one(private: PrivateFolder) -> None:
    private.path.rmdir()
    private.path.touch()
    with pytest.raises(UnavailableError, match="nothing is read from it or written to it; start"):
        private.hold()
    private.close()
    assert private.path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a folder of another user")
def test_another_users_folder_is_not_taken_for_the_private_one(private: PrivateFolder) -> None:
    private.path.rmdir()
    private.path.mkdir()
    os.chown(private.path, 65534, 65534)
    with pytest.raises(UnavailableError, match="nothing is read from it or written to it; start"):
        private.hold()
    private.close()
    assert private.path.exists()


def test_a_private_folder_that_can_not_be_made_again(private: PrivateFolder) -> None:
    shutil.rmtree(private.path.parent)
    with pytest.raises(UnavailableError, match="can't be made: No such file or directory"):
        private.hold()


def test_what_is_touched_looks_new(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "a" / "nowhere").symlink_to("/nonexistent")
    places = [tmp_path, *tmp_path.rglob("*")]
    for place in places:
        os.utime(place, (0, 0), follow_symlinks=False)
    touch(tmp_path)
    assert all(place.lstat().st_mtime > 1_000_000_000 for place in places)
