"""What instances have written, as files have it: rotated, truncated, written meanwhile."""

from __future__ import annotations

import grp
import gzip
import os
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.locked import not_root

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.log_files import (
    follow_lines,
    keep_lines,
    last_lines,
    log_file,
    names_in,
)
from pyboot_svc.services.log_lines import ErrorFilter, Said, moment_of

ONE, TWO = InstanceId("mean", 1), InstanceId("mean", 2)


def plain(second: int, text: str, level: str = "INFO") -> str:
    return f"2026-11-28T09:00:{second:02} {level} {text}"


def test_lines_are_kept_and_shown(tmp_path: Path) -> None:
    shown: list[Said] = []
    keep = keep_lines(lambda identity, line: shown.append(line), tmp_path / "log")
    said = [Said(b"one", own=True), Said(b"\xff two", own=False)]
    keep(ONE, said[0])
    keep(TWO, said[1])
    assert shown == said
    assert names_in(tmp_path / "log") == ["mean-1", "mean-2"]
    kept = last_lines(tmp_path / "log", ["mean-1", "mean-2"], 10, errors=False)
    assert kept == [("mean-1", "one"), ("mean-2", "> � two")]


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    keep = keep_lines(lambda identity, line: None, tmp_path)
    for _ in range(500):
        keep(ONE, Said(b"x" * 10_000, own=True))
    keep(ONE, Said(b"the last", own=True))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2_100_000
    lines = last_lines(tmp_path, ["mean-1"], 120, errors=False)
    assert len(lines) == 120
    assert lines[-1] == ("mean-1", "the last")


def test_a_folder_that_cant_be_written_keeps_nobody_from_being_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    shown: list[Said] = []
    one = Said(b"one", own=True)
    keep_lines(lambda identity, line: shown.append(line), tmp_path / "log")(ONE, one)
    assert shown == [one]


def test_in_a_folder_that_is_somebody_elses_now_nothing_is_kept(tmp_path: Path) -> None:
    def hold() -> None:
        raise UnavailableError("it is somebody else's")

    shown: list[Said] = []
    one = Said(b"one", own=True)
    keep_lines(lambda identity, line: shown.append(line), tmp_path / "log", hold)(ONE, one)
    assert shown == [one]
    assert not (tmp_path / "log").exists()


def test_rotated_files_come_first_and_all_are_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "mean-1.log.10.gz").write_bytes(gzip.compress(plain(0, "ten").encode() + b"\n"))
    (tmp_path / "mean-1.log.2.gz").write_bytes(gzip.compress(plain(1, "two").encode() + b"\n"))
    (tmp_path / "mean-1.log.3.gz").write_bytes(b"broken")
    (tmp_path / "mean-1.log.1").write_text(plain(3, "one") + "\n")
    (tmp_path / "mean-1.log.bak").write_text("somebody's\n")
    (tmp_path / "mean-1.log").write_text(plain(5, "now") + "\n    and more\n")
    (tmp_path / "mean-2.log").write_text(plain(2, "other") + "\n" + plain(4, "another") + "\n")
    lines = last_lines(tmp_path, ["mean-1", "mean-2"], 100, errors=False)
    said = [line.split()[-1] for _, line in lines]
    assert said == ["ten", "two", "other", "one", "another", "now", "more"]
    assert [name for name, _ in lines[-3:]] == ["mean-2", "mean-1", "mean-1"]
    assert last_lines(tmp_path, ["mean-1", "mean-2"], 1, errors=False) == [lines[-1]]


def test_what_was_full_stands_where_it_belongs(tmp_path: Path) -> None:
    """OpenRC's script copies what grew too large before logrotate came."""
    for number, name in enumerate((".2", ".full", ".1", "")):
        file = tmp_path / f"mean-1.log{name}"
        file.write_text(f"line {number}\n")
        os.utime(file, (number, number))
    said = [line for _, line in last_lines(tmp_path, ["mean-1"], 9, errors=False)]
    assert said == ["line 0", "line 1", "line 2", "line 3"]


def test_nothing_is_missed_between_what_was_and_what_comes(tmp_path: Path) -> None:
    file = log_file(tmp_path, "mean-1")
    file.write_text("zero\none\nbeg")
    lines = follow_lines(tmp_path, lambda: ["mean-1"], 1, errors=False)
    assert next(lines) == ("mean-1", "one")
    with file.open("a") as log:
        log.write("un\n")
    assert next(lines) == ("mean-1", "begun")
    assert last_lines(tmp_path, ["mean-1"], 1, errors=False) == [("mean-1", "begun")]


def append(file: Path, text: str) -> None:
    with file.open("a") as log:
        log.write(text)


def rename(file: Path) -> None:
    append(file, "late\n")
    file.rename(f"{file}.1")
    file.write_text("two\n")


def truncate(file: Path) -> None:
    os.truncate(file, 0)
    file.write_text("late\ntwo\n")


def truncate_and_fill(file: Path) -> None:
    """It is longer than before when it is looked at again."""
    os.truncate(file, 0)
    file.write_text("late\ntwo\n" + "more\n" * 1000)


def write_another(file: Path) -> None:
    append(file, "late\n")
    log_file(file.parent, "mean-2").write_text("two\n")


@pytest.mark.parametrize(
    "change", [rename, truncate, truncate_and_fill, write_another], ids=lambda f: f.__name__
)
def test_following_goes_on(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file = log_file(tmp_path, "mean-1")
    file.write_text("before\n")
    # Asked before the first look, and after each: what happens, happens then.
    changes = iter(
        [lambda file: None, lambda f: append(f, "one\nbeg"), lambda f: append(f, "un\n")]
    )

    def names() -> list[str]:
        next(changes, done.append)(file)
        if len(done) == 1:
            change(file)
        return names_in(tmp_path)

    done: list[Path] = []
    lines = follow_lines(tmp_path, names, 9, errors=False)
    assert [line for _, line in islice(lines, 5)] == ["before", "one", "begun", "late", "two"]


def test_a_traceback_that_goes_on_is_an_error_as_before(tmp_path: Path) -> None:
    file = log_file(tmp_path, "mean-1")
    file.write_text(plain(0, "bad", "ERROR") + "\n")
    lines = follow_lines(tmp_path, lambda: ["mean-1"], 9, errors=True)
    next(lines)
    append(file, f"    its second line\n{plain(1, 'well')}\n{plain(2, 'worse', 'ERROR')}\n")
    assert [line.split()[-1] for _, line in islice(lines, 2)] == ["line", "worse"]


@pytest.mark.skipif(os.geteuid() != 0, reason="reads as another user")
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "advice"),
    [
        (0o640, 0o755, "for root and the group adm: try as root (sudo), or join the group"),
        (0o600, 0o755, "mean-1.log can't be read: permission denied; try as root (sudo)"),
        (0o644, 0o700, "log can't be read: permission denied; try as root (sudo)"),
    ],
    ids=["a group's file", "root's file", "root's folder"],
)
def test_who_may_not_read_is_told_what_to_do(file_mode: int, folder_mode: int, advice: str) -> None:
    with TemporaryDirectory() as open_folder:
        Path(open_folder).chmod(0o755)
        folder = Path(open_folder, "log")
        folder.mkdir()
        file = log_file(folder, "mean-1")
        file.write_text("one\n")
        os.chown(file, 0, grp.getgrnam("adm").gr_gid)
        file.chmod(file_mode)
        folder.chmod(folder_mode)
        with not_root(), pytest.raises(UnavailableError, match=re.escape(advice)):
            last_lines(folder, names_in(folder), 1, errors=False)


def test_errors_come_with_what_belongs_to_them() -> None:
    lines = [
        plain(0, "well"),
        "    more of it",
        plain(1, "bad", "ERROR"),
        "    Traceback (most recent call last):",
        plain(2, "so so", "WARNING"),
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "ValueError: no",
        "a print",
        "pyboot: the model can't be loaded",
        '{"time": 1, "level": "error", "message": "bad"}',
        '{"time": 1, "level": "info", "message": "well"}',
        "{broken",
        plain(3, "the worst", "CRITICAL"),
        f"[pod/edge-model-mean-0/worker] {plain(3, 'bad', 'ERROR')}",
        f"[pod/edge-model-mean-0/worker] {plain(3, 'well')}",
    ]
    keep = ErrorFilter().keep
    assert [number for number, line in enumerate(lines) if keep(line)] == [
        *(2, 3, 5, 6, 7, 9, 10, 13, 14)
    ]


def test_what_is_printed_is_no_error_of_the_log_whatever_it_looks_like() -> None:
    lines = [
        plain(1, "bad", "ERROR"),
        f"> {plain(2, 'all is lost', 'CRITICAL')}",
        ">     more",
        "    Traceback (most recent call last):",
        "> Traceback (most recent call last):",
        plain(3, "well"),
        '>   File "x.py", line 1',
        "> ValueError: no",
        "> pyboot: all is lost",
        '> {"time": 1, "level": "error", "message": "all is lost"}',
    ]
    keep = ErrorFilter().keep
    assert [number for number, line in enumerate(lines) if keep(line)] == [0, 3, 4, 6, 7]
    assert [number for number, line in enumerate(lines) if moment_of(line)] == [0, 5]


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (plain(1, "x"), True),
        ("2026-99-99T09:00:00 INFO x", False),
        ('{"time": 12.5}', True),
        ('{"time": 1e300}', False),
        ('{"time": "then"}', False),
        ("[" * 100_000, False),
        ("{" * 100_000, False),
        ("", False),
    ],
    ids=["plain", "no date", "JSON", "no time", "a text", "nested", "nested objects", "empty"],
)
def test_when_it_was_written(line: str, known: bool) -> None:
    assert (moment_of(line) is not None) == known
