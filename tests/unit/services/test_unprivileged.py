"""What root has done by a child: whose rights it has, what comes of it, and how it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.poll import until

from pyboot_svc.errors import ExitCode, PybootError, UnavailableError, UsageError
from pyboot_svc.services.forked_child import ChildEnded
from pyboot_svc.services.lending import Places
from pyboot_svc.services.unprivileged import as_owner, without_rights

OWNER = 4711
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Somebody else's, behind a folder that he can't enter, as a dynamic user's state is."""
    closed = Path(tempfile.mkdtemp(prefix="pyboot-test-"))
    made = closed / "theirs"
    made.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(made, OWNER, OWNER)
    yield made
    shutil.rmtree(closed)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; whoever is without rights gets there."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def facts(folder: Path) -> Iterator[dict[str, Any]]:
    yield {"ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()]}
    yield {"names": sorted(os.listdir(folder)), "pid": os.getpid()}


@as_root
def test_it_has_its_owners_rights_alone(folder: Path) -> None:
    (folder / "file").write_text("")
    ids, found = as_owner(folder, facts, 20)
    assert ids == {"ids": [OWNER] * 6}
    assert found["names"] == ["file"]
    assert found["pid"] != os.getpid()
    assert os.geteuid() == 0


def test_ones_own_folder_needs_no_child(tmp_path: Path) -> None:
    _, found = as_owner(tmp_path, facts, 20)
    assert found["pid"] == os.getpid()


@as_root
def test_no_link_leads_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("root's")
    tmp_path.chmod(0o755)
    (folder / "link").symlink_to(tmp_path / "precious")

    def ask(entered: Path) -> Iterator[dict[str, Any]]:
        yield {"text": (entered / "link").read_text()}

    with pytest.raises(UnavailableError, match="ended with 1"):
        list(as_owner(folder, ask, 20))


@as_root
def test_a_link_of_somebody_elses_is_not_entered(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(UnavailableError, match="can't be entered: Not a directory"):
        list(as_owner(folder / "link", facts, 20))


@as_root
def test_a_link_of_roots_is(folder: Path, tmp_path: Path) -> None:
    """As systemd makes one to the state of a dynamic user."""
    (tmp_path / "link").symlink_to(folder)
    ids, _ = as_owner(tmp_path / "link", facts, 20)
    assert ids == {"ids": [OWNER] * 6}


@as_root
@pytest.mark.parametrize(
    "error", [UsageError("a\nb" * 2000), UnavailableError("no"), PybootError("x")]
)
def test_an_error_arrives_as_a_whole(folder: Path, error: PybootError) -> None:
    def ask(_: Path) -> Iterator[dict[str, Any]]:
        yield {"before": 1}
        raise error

    with pytest.raises(PybootError) as raised:
        list(as_owner(folder, ask, 20))
    assert str(raised.value) == str(error)
    assert raised.value.exit_code == error.exit_code
    assert isinstance(raised.value, UnavailableError) == isinstance(error, UnavailableError)


@as_root
def test_one_that_gives_nothing_is_ended_in_time(folder: Path) -> None:
    def ask(_: Path) -> Iterator[dict[str, Any]]:
        while True:
            time.sleep(1)
            yield from ()

    # A busy host may not even have begun with it by then.
    children = Path("/proc/thread-self/children")
    before = children.read_text()
    with pytest.raises(UnavailableError, match=r"nothing could be read within 0\.3 s"):
        next(as_owner(folder, ask, 0.3))
    assert children.read_text() == before


@as_root
def test_who_has_seen_enough_leaves_no_child(folder: Path) -> None:
    def ask(_: Path) -> Iterator[dict[str, Any]]:
        while True:
            yield {"pid": os.getpid()}

    with closing(as_owner(folder, ask, 20)) as answers:  # type: ignore[type-var]
        pid = next(answers)["pid"]
    assert not Path(f"/proc/{pid}").exists()


@as_root
def test_one_that_is_killed_is_said(folder: Path) -> None:
    def ask(_: Path) -> Iterator[dict[str, Any]]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield {}

    with pytest.raises(UnavailableError, match="ended with -9"):
        list(as_owner(folder, ask, 20))


@as_root
def test_a_database_can_be_read_and_written(folder: Path) -> None:
    def ask(entered: Path) -> Iterator[dict[str, Any]]:
        with closing(sqlite3.connect(entered / "file.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE numbers (number)")
            connection.execute("INSERT INTO numbers VALUES (1), (2)")
            yield {"sum": connection.execute("SELECT sum(number) FROM numbers").fetchone()[0]}

    assert list(as_owner(folder, ask, 20)) == [{"sum": 3}]
    assert (folder / "file.db").stat().st_uid == OWNER


@as_root
def test_where_others_can_write_root_does_not_look(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    os.chown(tmp_path, 0, OWNER)
    with pytest.raises(UnavailableError, match="others can write to"):
        list(as_owner(tmp_path, facts, 20))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((UnavailableError, FileNotFoundError)):
        list(as_owner(tmp_path / "none", lambda folder: [{"n": os.listdir(folder)}], 20))


def test_who_has_no_rights_to_lose_does_it_as_himself(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def run(_: Places) -> int:
        os.write(1, f"{os.getuid()}".encode())
        return 7

    assert without_rights(run) == 7
    assert capfd.readouterr().out == str(os.getuid())


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda: os._exit(0), 0),
        (lambda: os._exit(3), 3),
        (lambda: os.execv("/bin/true", ["true"]), 0),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
    ],
    ids=["exit 0", "exit 3", "exec", "signal"],
)
def test_one_that_ends_before_it_is_done_is_none_that_has_done_it(
    end: Callable[[], None], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def run(_: Places) -> int:
        end()
        return 0

    with pytest.raises(ChildEnded) as caught:
        without_rights(run)
    assert caught.value.code == code


def test_what_was_to_be_done_at_its_end_is_done(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """So multiprocessing ends what it has started."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def run(_: Places) -> int:
        atexit.register(os.write, 1, b"end")
        return 0

    assert without_rights(run) == 0
    assert capfd.readouterr().out == "end"


@as_root
def test_nobody_runs_it_with_the_groups_that_are_given(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.path", ["/usr"])

    def run(_: Places) -> int:
        os.write(1, f"{os.getuid()} {sorted(os.getgroups())} {os.environ['HOME']}\n".encode())
        return ExitCode.CONFIG

    assert without_rights(run, groups=["tty", "no-such-group"]) == ExitCode.CONFIG
    uid, rest = capfd.readouterr().out.split(" ", 1)
    assert int(uid) not in (0, os.geteuid())
    assert rest == "[5] /nonexistent\n"


@as_root
def test_what_nobody_can_read_is_said_and_run_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.path", ["/usr"])
    closed = tmp_path / "closed\n"
    closed.mkdir(mode=0o700)
    assert without_rights(lambda _: os.getuid() + 7, [closed]) == 7
    assert capsys.readouterr().err == (
        f"pyboot: the user nobody can't read {tmp_path}/closed\\n: the model has root's rights\n"
    )


@as_root
def test_it_may_go_on_as_another_program(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the interpreter of a model's environment: its exit code is that of the command."""
    monkeypatch.setattr("sys.path", ["/usr"])

    def run(_: Places) -> int:
        os.execv("/bin/sh", ["sh", "-c", "id -un; exit 7"])

    with pytest.raises(ChildEnded) as caught:
        without_rights(run)
    assert caught.value.shells_code == 7
    assert capfd.readouterr().out == "nobody\n"


def test_one_that_is_killed_has_the_exit_code_of_a_shell() -> None:
    assert ChildEnded(-signal.SIGKILL).shells_code == 128 + signal.SIGKILL


@as_root
def test_it_may_read_copies_of_credentials_as_long_as_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.path", ["/usr"])
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("pass")

    def run(_: Places) -> int:
        folder = Path(os.environ["CREDENTIALS_DIRECTORY"])
        modes = [oct(place.stat().st_mode & 0o777) for place in (folder, folder / "pre-password")]
        found = [*sorted(os.listdir(folder)), (folder / "pre-password").read_text(), *modes]
        os.write(1, " ".join([*found, str(folder)]).encode())
        return 0

    os.mkfifo(tmp_path / "pipe")  # nobody waits for it
    absent = {"pre-ca": str(tmp_path / "none"), "pre-key": str(tmp_path / "pipe")}
    files = {"pre-password": str(secret), **absent}
    assert without_rights(run, credentials=files) == 0
    *found, folder = capfd.readouterr().out.split(" ")
    assert found == ["pre-password", "pass", "0o700", "0o400"]
    assert not Path(folder).exists()
    assert "CREDENTIALS_DIRECTORY" not in os.environ


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda: None, 0),
        (lambda: os._exit(3), 3),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), -signal.SIGTERM),
    ],
    ids=["end", "exit", "signal"],
)
def test_its_own_folder_goes_with_it(
    end: Callable[[], None], code: int, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", ["/usr"])

    def run(places: Places) -> int:
        (places.scratch / "some").mkdir()
        (places.scratch / "some" / "file").write_text("text")
        end()
        return 0

    try:
        ended = without_rights(run)
    except ChildEnded as error:
        ended = error.code
    assert ended == code
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("early", [False, True], ids=["late", "early"])
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["term", "int", "hup"]
)
def test_a_signal_to_its_parent_is_for_it(
    number: signal.Signals, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An early one comes as soon as the child is there, before anything else is done."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ready, say_ready = os.pipe()
    fork = os.fork
    parent = fork()
    if parent == 0:
        os.setsid()  # away from any terminal

        def fork_and_hear() -> int:
            child = fork()
            if child:
                os.read(ready, 1)
                os.kill(os.getpid(), number)
            return child

        def run(_: Places) -> int:
            signal.signal(number, lambda *_: os._exit(9))
            os.write(say_ready, b"!")
            while True:
                time.sleep(1)

        if early:
            monkeypatch.setattr(os, "fork", fork_and_hear)
        try:
            without_rights(run)
        except ChildEnded as ended:
            os._exit(ended.code)
        finally:
            os._exit(1)
    if not early:
        os.read(ready, 1)
        os.kill(parent, number)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == 9
    os.close(ready)
    os.close(say_ready)


def test_who_has_a_hangup_ignored_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nohup has it, also for a model that doesn't ignore it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def run(_: Places) -> int:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.kill(os.getppid(), signal.SIGHUP)
        return 7

    try:
        assert without_rights(run) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


@as_root
@pytest.mark.parametrize("early", [False, True], ids=["late", "early"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["term", "hup"])
def test_no_signal_leaves_copies_of_credentials(
    number: signal.Signals,
    early: bool,
    temporary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An early one comes while they are copied."""
    monkeypatch.setattr("sys.path", ["/usr"])
    secret = tmp_path / "secret"
    secret.write_text("pass")
    chown = os.chown
    ready, say_ready = os.pipe()
    parent = os.fork()
    if parent == 0:
        os.setsid()  # away from any terminal

        def chown_and_hear(*arguments: Any) -> None:
            chown(*arguments)
            os.kill(os.getpid(), number)

        def run(_: Places) -> int:
            os.write(say_ready, b"!")
            time.sleep(60)
            return 0

        if early:
            monkeypatch.setattr(os, "chown", chown_and_hear)
        try:
            without_rights(run, credentials={"pre-password": str(secret)})
        except ChildEnded as ended:
            os._exit(-ended.code)
        finally:
            os._exit(99)
    if not early:
        os.read(ready, 1)
        os.kill(parent, number)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == number
    assert os.listdir(temporary) == []
    os.close(ready)
    os.close(say_ready)


@as_root
def test_a_child_ends_with_its_parent(folder: Path) -> None:
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:

        def ask(_: Path) -> Iterator[dict[str, Any]]:
            os.write(write, f"{os.getpid()}\n".encode())
            while True:
                time.sleep(1)
            yield {}

        list(as_owner(folder, ask, 60))
        os._exit(1)
    child = os.read(read, 20).decode().strip()
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)

    def has_ended() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0] == "Z"
        except OSError:
            return True

    until(has_ended, "the child has ended")
    os.close(read)
    os.close(write)
