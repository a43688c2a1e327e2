"""A user for each instance: by which commands it is made, and what is said when that fails."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.users import ensure_user, remove_user, user_of

PUMP = InstanceId("pump", 1)
_NOTE = '#!/bin/sh\necho "{name} $*" >>{base}/calls\n{rest}\n'


class Host:
    """Commands that note how they are called, and a list of users of its own."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def add(self, name: str, rest: str = "") -> None:
        file = self.base / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(_NOTE.format(name=name, base=self.base, rest=rest))
        file.chmod(0o755)

    def calls(self) -> list[str]:
        file = self.base / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def find(self, name: str) -> None:
        if not (self.base / name).exists():
            raise KeyError(name)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(pwd, "getpwnam", made.find)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/nowhere")
    return made


def appears(host: Host) -> str:
    return f": >{host.base / user_of(PUMP)}"


def test_each_instance_has_its_own_of_a_name_that_hosts_allow() -> None:
    names = {user_of(InstanceId(model, n)) for model in ("a", "b" * 200, "a.B_c-1") for n in (1, 2)}
    assert len(names) == 6
    assert all(len(name) <= 31 and name.startswith("em-") for name in names)


def test_by_useradd(host: Host) -> None:
    host.add("useradd", appears(host))
    ensure_user(PUMP)
    [call] = host.calls()
    assert call.startswith("useradd --system ")
    assert call.endswith(f" --comment pyboot edge model pump-1 {user_of(PUMP)}")
    ensure_user(PUMP)  # it is there
    assert len(host.calls()) == 1


def test_by_adduser_as_on_alpine(host: Host) -> None:
    host.add("addgroup")
    host.add("adduser", appears(host))
    ensure_user(PUMP)
    assert [call.split()[0] for call in host.calls()] == ["addgroup", "adduser"]
    assert f"-G {user_of(PUMP)} {user_of(PUMP)}" in host.calls()[1]


def test_why_it_cannot_be_made_is_said(host: Host) -> None:
    with pytest.raises(UnavailableError, match="adduser can't be run: No such file"):
        ensure_user(PUMP)
    host.add("useradd", "echo 'cannot lock /etc/passwd' >&2; exit 1")
    with pytest.raises(UnavailableError, match=r"of pump-1 can't be made: cannot lock /etc/passwd"):
        ensure_user(PUMP)


@pytest.mark.parametrize("command", ["userdel", "deluser"])
def test_it_is_removed_by_what_there_is(host: Host, command: str) -> None:
    host.add(command)
    remove_user(PUMP)
    assert host.calls() == []
    (host.base / user_of(PUMP)).touch()
    remove_user(PUMP)
    assert host.calls() == [f"{command} {user_of(PUMP)}"]
