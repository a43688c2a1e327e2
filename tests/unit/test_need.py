"""`packaging/need.sh` installs what is missing, also where two targets of the Makefile need it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

NEED = Path(__file__).parents[2] / "packaging/need.sh"
# As apt does, it fails where another one is at work; it "installs" what it is asked for.
APT_GET = """#!/bin/sh
mkdir "$0.lock" 2>/dev/null || { echo "E: Could not get lock" >&2; exit 100; }
echo "$1" >>"$0.log"
sleep 0.2
if [ "$1" = install ]; then
    for name; do
        case $name in install | -*) ;; *) install -m 755 /dev/null "${0%/*}/$name" ;; esac
    done
fi
rmdir "$0.lock"
"""
SUDO = """#!/bin/sh
[ "$1" = -n ] && shift
exec "$@"
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name, text in (("apt-get", APT_GET), ("sudo", SUDO)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def need(programs: Path, *names: str) -> subprocess.Popen[str]:
    """Each a program, or a file, of which a package has the name."""
    pairs = [part for name in names for part in (name, Path(name).name)]
    return subprocess.Popen(
        [NEED, *pairs],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked(programs: Path) -> list[str]:
    return (programs / "apt-get.log").read_text().split()


@pytest.mark.parametrize("names", [("one-tool", "other-tool"), ("one-tool",) * 4])
def test_each_is_installed_once_and_one_after_the_other(
    programs: Path, names: tuple[str, ...]
) -> None:
    started = [need(programs, name) for name in names]
    said = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0] * len(names), said
    assert asked(programs) == ["update", "install"] * len(set(names))
    assert all((programs / name).exists() for name in names)


def test_what_is_there_is_not_installed(programs: Path) -> None:
    process = need(programs, "sh")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert not (programs / "apt-get.log").exists()


def test_all_that_is_missing_is_installed_at_once(programs: Path) -> None:
    process = need(programs, "sh", "one-tool", str(programs / "a-file"), "/etc/passwd")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert asked(programs) == ["update", "install"]
    assert (programs / "one-tool").exists()
    assert (programs / "a-file").exists()
    assert not (programs / "sh").exists()
    assert "installing one-tool a-file\n" in said
