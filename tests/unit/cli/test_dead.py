"""`pyboot dead`: what an instance gave up, listed, shown, tried again and forgotten."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.app import PYBOOT
from support.locked import locked, not_root
from support.store import configured, rows, running, settled

from pyboot_svc.cli import main
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.messages import Fault, Message
from pyboot_svc.worker.storage.durable_queue import DEAD_LETTERS, DurableQueue
from pyboot_svc.worker.storage.writer import DATABASE_NAME


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def add(
    state: Path,
    instance: str,
    *payloads: bytes,
    error: str = "line 1\nline 2",
    kind: str = "model",
) -> None:
    folder = state / instance
    folder.mkdir(parents=True, exist_ok=True)
    with running(folder / DATABASE_NAME) as store:
        lane = DurableQueue(store, folder / DATABASE_NAME, DEAD_LETTERS)
        dead_letters = DeadLetters(configured(), store, lane, lambda: None)
        buried = [(Message("plant/7", data), Fault(kind, error, 4)) for data in payloads]
        dead_letters.add(buried, lambda: None)
        settled(store)


def dead(state: Path, *arguments: str) -> int:
    return main(["dead", *arguments, "--state-dir", str(state)])


def requests(state: Path, instance: str) -> list[tuple[Any, ...]]:
    return rows(state / instance, "SELECT id, request FROM dead ORDER BY id")


def test_list_of_all_instances(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(state, "b-1", b"1")
    add(state, "a-2", b"22", "温".encode())
    (state / "not ours").mkdir()
    (state / "not ours" / DATABASE_NAME).touch()
    assert dead(state, "list") == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("INSTANCE", "ID", "TIME", "KIND", "TRIED", "BYTES", "TOPIC", "ERROR")
    ]
    cells = [line.split(maxsplit=7) for line in lines]
    assert [(row[0], row[1], *row[3:]) for row in cells] == [
        ("a-2", "1", "model", "4", "2", "plant/7", "line 1"),
        ("a-2", "2", "model", "4", "3", "plant/7", "line 1"),
        ("b-1", "1", "model", "4", "1", "plant/7", "line 1"),
    ]
    assert len({line.index("plant/7") for line in lines}) == 1


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["show", "a-1", "--all"]])
def test_all_of_it_is_shown_in_less_memory_than_it_takes(state: Path, arguments: list[str]) -> None:
    add(state, "a-1", *[b"x" * 4_000_000] * 15)
    command = [*PYBOOT, "dead", *arguments, "--state-dir", str(state)]
    shell = ["sh", "-c", 'ulimit -v 120000; exec "$@"', "sh", *command]
    found = subprocess.run(shell, capture_output=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout.count(b"plant/7") == 15
    if "--json" in arguments:
        assert [letter["bytes"] for letter in json.loads(found.stdout)] == [4_000_000] * 15


def test_list_of_one_instance_as_json(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(state, "a-1", b"\xff1")
    add(state, "b-1", b"1")
    assert dead(state, "list", "a-1", "--json") == 0
    [letter] = json.loads(capsys.readouterr().out)
    assert letter.pop("created") > 0
    assert letter.pop("version")
    assert letter == {
        "instance": "a-1",
        "id": 1,
        "topic": "plant/7",
        "payload": "\\xff1",
        "bytes": 2,
        "kind": "model",
        "error": "line 1\nline 2",
        "attempts": 4,
        "model": "a.b",
        "request": None,
    }


@pytest.mark.parametrize("arguments", [["list"], ["list", "a-1"], ["list", "--json"]])
def test_nothing_is_kept(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (state / "a-1").mkdir(parents=True)
    assert dead(state, *arguments) == 0
    output = capsys.readouterr().out.strip()
    assert output == "[]" if "--json" in arguments else len(output.splitlines()) == 1
    assert list((state / "a-1").iterdir()) == []


def test_before_any_instance_has_run_there_is_nothing(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dead(state, "list", "--json") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("[]\n", f"no instance has state in {state}\n")
    assert not state.exists()


@pytest.mark.parametrize("made", ["", "CREATE TABLE spool (id INTEGER PRIMARY KEY AUTOINCREMENT)"])
def test_while_an_instance_makes_its_database_there_is_nothing(
    state: Path, capsys: pytest.CaptureFixture[str], made: str
) -> None:
    (state / "a-1").mkdir(parents=True)
    with closing(sqlite3.connect(state / "a-1" / DATABASE_NAME)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(made)
        assert dead(state, "list", "a-1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_another_database_in_its_place_is_named(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (state / "a-1").mkdir(parents=True)
    with closing(sqlite3.connect(state / "a-1" / DATABASE_NAME)) as database:
        database.execute("CREATE TABLE other (id)")
    assert dead(state, "list", "a-1") == 69
    assert "can't be read" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["list", "show", "retry", "drop"])
@pytest.mark.parametrize("others", ["", "a-2, b-1"])
def test_an_instance_that_does_not_exist_is_an_error(
    state: Path, capsys: pytest.CaptureFixture[str], action: str, others: str
) -> None:
    for name in others.split(", ") if others else ():
        (state / name).mkdir(parents=True)
    chosen = [] if action == "list" else ["--all"]
    assert dead(state, action, "a-1", *chosen) == 64
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"no instance a-1 has state in {state}" in printed.err
    assert printed.err.endswith(f"there are {others}\n" if others else "there is none\n")


def test_one_that_can_not_be_read_is_named_and_hides_no_other(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(state, "a-1", b"1")
    add(state, "c-1", b"3")
    (state / "b-1").mkdir()
    (state / "b-1" / DATABASE_NAME).write_bytes(b"x" * 5000)
    assert dead(state, "list") == 69
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["INSTANCE", "a-1", "c-1"]
    assert printed.err.startswith("pyboot: b-1: ")
    assert "file is not a database" in printed.err
    assert dead(state, "list", "--json") == 69
    assert [letter["instance"] for letter in json.loads(capsys.readouterr().out)] == ["a-1", "c-1"]


def test_who_may_not_read_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    """As /var/lib/edge-model is: its folders are seen by all, and read by none."""
    with tempfile.TemporaryDirectory() as folder, as_nobody_else(Path(folder)) as state:
        assert dead(state, "list") == 69
        assert dead(state, "list", "a-1") == 69
    assert (
        capsys.readouterr().err.count("can't be read: Permission denied; try as root (sudo)") == 2
    )


@contextmanager
def as_nobody_else(state: Path) -> Iterator[Path]:
    """A state directory with an instance that this process, not root meanwhile, can't read."""
    add(state, "a-1", b"1")
    state.chmod(0o755)
    with locked(state / "a-1"):
        yield state


def test_show(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(state, "a-1", b"first", b"second", b"third")
    assert dead(state, "show", "a-1", "3", "1") == 0
    output = capsys.readouterr().out
    assert "second" not in output
    assert output.index("third") < output.index("first")
    assert "line 1\n    line 2" in output
    assert dead(state, "show", "a-1", "--all", "--json") == 0
    assert capsys.readouterr().out.count('"payload"') == 3


def test_times_are_for_people_and_what_is_not_so_is_left_out(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(state, "a-1", b"1")
    assert dead(state, "show", "a-1", "1") == 0
    shown = capsys.readouterr().out
    assert re.search(
        r"^created: +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \(\d+ s ago\)$", shown, re.MULTILINE
    )
    assert "request" not in shown
    assert dead(state, "retry", "a-1", "1") == 0
    assert dead(state, "show", "a-1", "1") == 0
    assert re.search(r"^request: +retry$", capsys.readouterr().out, re.MULTILINE)


def test_a_terminal_is_shown_no_control_characters(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(state, "a-1", b"\x1b[2Jid:\n9 \xe2\x80\xae", error="\x1b]0;title\x07 of\r\nline\t2")
    assert dead(state, "show", "a-1", "1") == 0
    output = capsys.readouterr().out
    assert "payload:   \\x1b[2Jid:\\n9 \\u202e\n" in output
    assert "error:     \\x1b]0;title\\x07 of\\r\n    line\t2\n" in output
    assert dead(state, "list") == 0
    assert capsys.readouterr().out.rstrip().endswith("\\x1b]0;title\\x07 of")


def test_nor_of_what_a_model_has_written_into_the_file(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(state, "a-1", b"1", kind="\x1b[2J")
    assert dead(state, "list") == 0
    assert dead(state, "show", "a-1", "--all") == 0
    shown = capsys.readouterr().out
    assert shown.count(r"\x1b[2J") == 2
    assert "\x1b" not in shown


def test_retry_asks_the_worker(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(state, "a-1", b"1", b"2", b"3")
    assert dead(state, "retry", "a-1", "1", "3") == 0
    assert capsys.readouterr().out == "a-1: 2 will be retried\n"
    assert requests(state, "a-1") == [(1, "retry"), (2, None), (3, "retry")]
    assert dead(state, "list", "a-1") == 0
    assert capsys.readouterr().out.count("model (retry)") == 2


def test_what_is_kept_in_part_is_not_tried_again(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model would take its beginning for all of it."""
    add(state, "a-1", b"1", b"2")
    add(state, "a-1", b"[", kind="too_large")
    assert dead(state, "retry", "a-1", "3") == 64
    assert "only the beginning of message 3 was kept" in capsys.readouterr().err
    assert requests(state, "a-1") == [(1, None), (2, None), (3, None)]
    assert dead(state, "retry", "a-1", "--all") == 0
    assert capsys.readouterr().out.splitlines() == [
        "a-1: only the beginning of message 3 was kept: have it published again",
        "a-1: 2 will be retried",
    ]
    assert requests(state, "a-1") == [(1, "retry"), (2, "retry"), (3, None)]
    assert dead(state, "drop", "a-1", "3") == 0


def test_drop_forgets(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(state, "a-1", b"1", b"2", b"3")
    assert dead(state, "drop", "a-1", "2") == 0
    assert [number for number, _ in requests(state, "a-1")] == [1, 3]
    assert dead(state, "drop", "a-1", "--all") == 0
    assert capsys.readouterr().out == "a-1: 1 dropped\na-1: 2 dropped\n"
    assert requests(state, "a-1") == []


@pytest.mark.parametrize("action", ["retry", "drop"])
@pytest.mark.parametrize("file", [True, False])
def test_all_of_nothing(
    state: Path, capsys: pytest.CaptureFixture[str], action: str, file: bool
) -> None:
    if file:
        add(state, "a-1")
    (state / "a-1").mkdir(parents=True, exist_ok=True)
    assert dead(state, action, "a-1", "--all") == 0
    assert capsys.readouterr().out == "a-1: no dead letters\n"


@pytest.mark.parametrize("action", ["show", "retry", "drop"])
def test_without_a_choice_nothing_is_done(
    state: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    add(state, "a-1", b"1")
    assert dead(state, action, "a-1") == 64
    assert "name the messages by their IDs, or all of them with --all" in capsys.readouterr().err
    assert requests(state, "a-1") == [(1, None)]


@pytest.mark.parametrize("action", ["show", "retry", "drop"])
def test_one_that_is_not_kept_spoils_it_all(
    state: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    add(state, "a-1", b"1")
    assert dead(state, action, "a-1", "1", "7", "8") == 64
    assert "a-1 has no message 7, 8; see pyboot dead list" in capsys.readouterr().err
    assert requests(state, "a-1") == [(1, None)]


@pytest.mark.parametrize("instance", ["a", "../a-1", "a-0", ""])
def test_no_name_of_an_instance(
    state: Path, capsys: pytest.CaptureFixture[str], instance: str
) -> None:
    for action in (["show", instance, "1"], ["drop", instance, "--all"]):
        assert dead(state, *action) == 64
        assert "is not an instance; write NAME-NUMBER" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["", "add a-1", "show", "retry a-1 x", "list a-1 b-1"])
def test_wrong_usage(state: Path, capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    assert main(["dead", *arguments.split()]) == 64
    assert capsys.readouterr().err.startswith("usage: pyboot")


def test_a_file_that_can_not_be_read(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "a-1").mkdir(parents=True)
    (state / "a-1" / DATABASE_NAME).write_bytes(b"x" * 5000)
    for arguments in (["list"], ["show", "a-1", "--all"], ["retry", "a-1", "1"]):
        assert dead(state, *arguments) == 69
        assert "can't be read: file is not a database" in capsys.readouterr().err


def test_a_database_that_somebody_holds(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(state, "a-1", b"1")
    monkeypatch.setattr("pyboot_svc.worker.storage.database.BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(state / "a-1" / DATABASE_NAME)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert dead(state, "drop", "a-1", "1") == 69
    assert "database is locked" in capsys.readouterr().err
    assert requests(state, "a-1") == [(1, None)]


def test_who_may_not_write_is_told_who_can(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(state, "a-1", b"1")
    folder = state / "a-1"
    for path in (*folder.iterdir(), folder):
        path.chmod(0o500)
    with not_root():
        assert dead(state, "drop", "a-1", "1") == 69
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700)
    assert "try as root" in capsys.readouterr().err


def test_who_may_read_and_not_write_is_told_what_it_takes(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped instance's log has to be put in its place before anything can be read."""
    add(open_folder, "a-1", b"1")
    folder = open_folder / "a-1"
    (folder / DATABASE_NAME).chmod(0o644)
    with locked(folder, 0o555):
        assert dead(open_folder, "list") == 69
    assert capsys.readouterr().err == (
        f"pyboot: a-1: {folder / DATABASE_NAME} can't be read: that takes the right to write to "
        "it, too; try as root (sudo)\n"
    )


def test_a_file_in_the_place_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert dead(tmp_path / "file", "list") == 69
    assert capsys.readouterr().err.endswith("/file can't be read: Not a directory\n")
