"""The README's first 60 seconds, word for word, by a user on a fresh Debian."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import pytest
from fresh import USER, apt_packages_of, fresh_image
from machine import Machine
from support.poll import until

pytestmark = pytest.mark.systemd

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text().split("\n## 60 seconds\n")[1].split("\n## ")[0]
# What to do, what to do in a second terminal, and what that prints.
FIRST, SECOND, PRINTED = re.findall(
    r"^```(?:sh|json)\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE
)
SAYS = re.findall(r"When pyboot says `(.+?)`", SECTION)[0]
# What a clone of the repository doesn't have.
_MADE_HERE = (
    ".git",
    ".venv*",
    "build",
    "dist",
    "__pycache__",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    checkout = tmp_path_factory.mktemp("checkout") / "pyboot"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*_MADE_HERE))
    with Machine(fresh_image(apt_packages_of(FIRST))) as booted:
        booted.push(checkout, f"/home/{USER}/pyboot")
        booted.run("chown", "--recursive", USER, f"/home/{USER}/pyboot")
        yield booted


def as_user(command: str) -> str:
    return f"runuser --login {USER} --command {quote(f'cd pyboot; {command}')}"


def test_the_first_60_seconds_work_as_printed(machine: Machine) -> None:
    log = "/var/tmp/terminal"
    machine.write(f"{log}.sh", FIRST)
    machine.begin("terminal", f"{as_user(f'bash -e {log}.sh')} >{log} 2>&1")
    until(
        lambda: SAYS in machine.read(log) or not machine.is_at_work("terminal"),
        "it is subscribed, or has ended",
        150,
    )
    assert SAYS in machine.read(log), machine.read(log)
    assert machine.sh(as_user(SECOND), timeout=30) == PRINTED
    machine.end("terminal")
