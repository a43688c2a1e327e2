"""The files of OpenRC's manager: what it writes, finds again, and removes; and what states mean."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyboot_svc.errors import UnavailableError
from pyboot_svc.health.client import health_socket
from pyboot_svc.health.record import Health
from pyboot_svc.health.server import HealthServer
from pyboot_svc.identity import InstanceId
from pyboot_svc.services import detect, openrc, systemd
from pyboot_svc.services.files import read_text
from pyboot_svc.services.openrc import OpenrcManager
from pyboot_svc.services.plan import Applied, Wanted, make_plan
from pyboot_svc.services.systemd import SystemdManager
from pyboot_svc.sockets.unix import open_listener

PUMP, FAN = InstanceId("pump", 1), InstanceId("fan.a-b", 12)
WANTED = [Wanted(PUMP, '{"a": 1}\n', "em_nice=1\n"), Wanted(FAN, "{}\n", "em_nice=0\n")]

# Notes what it is asked for, and links as the real one does.
_RC_UPDATE = """#!/bin/sh
echo "rc-update $*" >>{base}/calls
[ "$1" = --quiet ] || exit 0
[ "$2" = add ] && ln -s {base}/init.d/$3 {base}/default/$3 || rm -f {base}/default/$3
"""
_RC_SERVICE = """#!/bin/sh
echo "rc-service $*" >>{base}/calls
[ "$2" != status ] || exit $(cat {base}/status)
[ ! -e {base}/broken ] || {{ echo "it is broken" >&2; exit 1; }}
"""


class Folders:
    """A manager on folders of its own, and commands that only note what they are asked for."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.init, self.runlevel, self.run = base / "init.d", base / "default", base / "run"
        self.log = base / "log"
        self.programs = base / "bin"
        for folder in (self.init, self.runlevel, self.log, self.programs):
            folder.mkdir()
        (self.init / "edge-model").write_text("")
        for name, text in (("rc-update", _RC_UPDATE), ("rc-service", _RC_SERVICE)):
            (self.programs / name).write_text(text.format(base=base))
            (self.programs / name).chmod(0o755)
        self.users: list[InstanceId] = []
        self.manager = self.make_manager()

    def make_manager(self, deaf_seconds: float = 20.0) -> OpenrcManager:
        places = (self.run, self.init, self.runlevel, self.log)
        return OpenrcManager(*places, deaf_seconds, self.users.append)

    def write(self, *wanted: Wanted) -> None:
        self.manager.write_units(wanted, [])
        for item in wanted:
            self.manager.write_compiled(item)

    def calls(self) -> list[str]:
        return sorted((read_text(self.base / "calls") or "").splitlines())

    def status(self, code: int) -> None:
        (self.base / "status").write_text(str(code))

    def give_up(self, identity: InstanceId, log: str) -> None:
        (self.run / "failed").mkdir(parents=True, exist_ok=True)
        (self.run / "failed" / str(identity)).write_text("78\n")
        (self.log / f"{identity}.log").write_text(log)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    made = Folders(tmp_path)
    monkeypatch.setenv("PATH", str(made.programs), prepend=os.pathsep)
    return made


def test_what_was_applied_is_found_again(folders: Folders) -> None:
    folders.write(*WANTED)
    assert folders.manager.applied() == {
        item.identity: Applied(item.identity, item.compiled, item.unit) for item in WANTED
    }
    assert not make_plan(WANTED, folders.manager.applied()).changes


def test_each_gets_a_link_and_a_place_in_the_runlevel(folders: Folders) -> None:
    folders.write(*WANTED)
    assert folders.calls() == [
        "rc-update --quiet add edge-model.fan.a-b-12 default",
        "rc-update --quiet add edge-model.pump-1 default",
        "rc-update --update",
    ]
    link = folders.init / "edge-model.pump-1"
    # OpenRC follows no link that is relative, or leads out of the folder.
    assert os.readlink(link) == str(folders.init / "edge-model")


def test_what_is_there_is_not_asked_for_again(folders: Folders) -> None:
    folders.write(*WANTED)
    before = folders.calls()
    folders.write(*WANTED)
    assert folders.calls() == before


@pytest.mark.parametrize("lost", ["init.d/edge-model.pump-1", "default/edge-model.pump-1"])
def test_a_lost_link_is_made_again(folders: Folders, lost: str) -> None:
    folders.write(*WANTED)
    (folders.base / lost).unlink()
    assert make_plan(WANTED, folders.manager.applied()).changes
    folders.write(*WANTED)
    assert (folders.base / lost).is_symlink()


def test_what_is_gone_leaves_nothing(folders: Folders) -> None:
    folders.write(*WANTED)
    folders.give_up(FAN, "")
    folders.manager.retire([FAN])
    folders.manager.stop([FAN])
    folders.manager.write_units(WANTED[:1], [FAN])
    assert set(folders.manager.applied()) == {PUMP}
    assert [path for path in folders.base.rglob("*fan*") if path.parent != folders.log] == []
    assert "rc-service --nodeps edge-model.fan.a-b-12 stop" in folders.calls()


def test_one_that_was_never_linked_needs_no_stop(folders: Folders) -> None:
    folders.manager.write_compiled(WANTED[0])
    folders.manager.stop([PUMP])
    assert folders.calls() == []


def test_files_of_others_are_passed_over(folders: Folders) -> None:
    (folders.init / "edge-model.conf").write_text("")
    assert folders.manager.applied() == {}


def test_without_the_script_nothing_can_be_linked(folders: Folders) -> None:
    (folders.init / "edge-model").unlink()
    with pytest.raises(UnavailableError, match="is not installed"):
        folders.write(*WANTED)


def test_one_that_was_lost_by_a_reboot_is_started(folders: Folders) -> None:
    """/run is new then, and the links are still there."""
    folders.write(*WANTED)
    for item in WANTED:
        (folders.run / "instances" / f"{item.identity}.json").unlink()
    plan = make_plan(WANTED, folders.manager.applied())
    assert [step.action for step in plan.steps] == ["start", "start"]


def test_an_instance_is_ready_when_it_says_so(folders: Folders) -> None:
    folders.status(0)
    state = folders.manager.states([PUMP])[PUMP]
    assert (state.ready, state.failed, state.stopped) == (False, False, False)
    assert "it isn't running" in state.detail
    answers = [Health("pump-1", reasons=("not subscribed yet",))]
    server = HealthServer(health_socket(folders.run, PUMP), lambda: answers[-1])
    assert folders.manager.states([PUMP])[PUMP].detail == "started: not subscribed yet"
    answers.append(Health("pump-1", started=True))
    assert folders.manager.states([PUMP])[PUMP].ready
    server.close()


@pytest.mark.parametrize(
    ("code", "stopped", "detail"),
    [(3, True, "stopped"), (32, False, "not started (status 32)")],
)
def test_an_instance_that_does_not_run(
    folders: Folders, code: int, stopped: bool, detail: str
) -> None:
    folders.status(code)
    state = folders.manager.states([PUMP])[PUMP]
    assert (state.ready, state.failed, state.stopped) == (False, False, stopped)
    assert state.detail == detail


@pytest.mark.parametrize(
    ("log", "detail"),
    [
        ("INFO loaded\npyboot: old\npyboot: no such model\n", "failed: no such model"),
        ("pyboot: \x1b[2J is well\n", r"failed: \x1b[2J is well"),
        ("", "failed: exit code 78"),
    ],
)
def test_one_that_gave_up_has_failed_and_says_why(folders: Folders, log: str, detail: str) -> None:
    folders.write(*WANTED)
    folders.give_up(PUMP, log)
    assert folders.manager.applied()[PUMP].failed
    state = folders.manager.states([PUMP])[PUMP]
    assert state.failed
    assert state.detail == detail
    (folders.log / "pump-1.log").unlink()
    assert folders.manager.states([PUMP])[PUMP].detail == "failed: exit code 78"


def test_a_start_that_fails_is_reported(folders: Folders) -> None:
    (folders.base / "broken").write_text("")
    with pytest.raises(UnavailableError, match=r"edge-model\.pump-1 start failed: it is broken"):
        folders.manager.start([PUMP])


def test_one_that_is_not_yet_down_is_asked_again(folders: Folders) -> None:
    """Just after a stop, the supervisor may say that it is still there."""
    (folders.programs / "rc-service").write_text(
        f"#!/bin/sh\necho call >>{folders.base}/calls\n"
        f"[ $(wc -l <{folders.base}/calls) -le 2 ] || exit 0\n"
        "echo 'it is already running' >&2; exit 1\n"
    )
    folders.manager.start([PUMP])
    assert folders.calls() == ["call"] * 3


@pytest.mark.parametrize(
    ("silent", "detail"), [(1, "stopped"), (2, "not started (rc-service gives no answer)")]
)
def test_a_status_that_never_ends_is_asked_for_again(
    folders: Folders, silent: int, detail: str
) -> None:
    (folders.programs / "rc-service").write_text(
        f"#!/bin/sh\necho call >>{folders.base}/calls\n"
        f"[ $(wc -l <{folders.base}/calls) -gt {silent} ] || exec sleep 60\nexit 3\n"
    )
    manager = folders.make_manager(deaf_seconds=0.5)
    assert manager.states([PUMP])[PUMP].detail == detail
    assert folders.calls() == ["call"] * 2


def test_each_instance_gets_a_user(folders: Folders) -> None:
    folders.write(*WANTED)
    assert folders.users == [PUMP, FAN]


def test_without_users_of_their_own_instances_share_one(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(identity: InstanceId) -> None:
        raise UnavailableError(f"no user for {identity}")

    places = (folders.run, folders.init, folders.runlevel, folders.log)
    OpenrcManager(*places, make_user=fail).write_units(WANTED, [])
    assert "no user for pump-1; the instances without one share the user edge-model" in caplog.text
    assert (folders.run / "openrc" / "pump-1").exists()


def test_starts_and_restarts_are_asked_for_without_dependencies(folders: Folders) -> None:
    folders.manager.start([PUMP])
    folders.manager.restart([FAN])
    assert folders.calls() == [
        "rc-service --nodeps edge-model.fan.a-b-12 restart",
        "rc-service --nodeps edge-model.pump-1 start",
    ]


def test_without_openrc_that_is_said(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folders.run))
    with pytest.raises(UnavailableError, match="rc-service can't be run"):
        folders.manager.start([PUMP])


def test_the_manager_that_runs_is_found_and_a_name_overrules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "RUNNING", tmp_path / "systemd")
    monkeypatch.setattr(openrc, "RUNNING", tmp_path / "softlevel")
    with pytest.raises(UnavailableError, match="neither systemd nor OpenRC runs here"):
        detect.host_manager(tmp_path, None)
    (tmp_path / "softlevel").write_text("default")
    assert isinstance(detect.host_manager(tmp_path, None), OpenrcManager)
    assert isinstance(detect.host_manager(tmp_path, "systemd"), SystemdManager)
    (tmp_path / "systemd").mkdir()
    assert isinstance(detect.host_manager(tmp_path, None), SystemdManager)
    assert isinstance(detect.host_manager(tmp_path, "openrc"), OpenrcManager)


_SUPERVISOR = """#!/bin/sh
echo "$RC_SVCNAME: supervise-daemon $*" >>{base}/calls
[ $(wc -l <{base}/calls) -gt {deaf} ] || {{ echo "unable to open control fifo" >&2; exit 1; }}
"""


@pytest.fixture
def master(folders: Folders) -> Iterator[socket.socket]:
    """The socket of one that is up."""
    with open_listener(folders.run / "metrics.sock") as listener:
        yield listener


def add_supervisor(folders: Folders, deaf: int) -> None:
    """One that hears nothing when it is called the first times."""
    program = folders.programs / "supervise-daemon"
    program.write_text(_SUPERVISOR.format(base=folders.base, deaf=deaf))
    program.chmod(0o755)


@pytest.mark.usefixtures("master")
def test_a_supervisor_that_hears_nothing_for_a_moment_is_asked_again(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    add_supervisor(folders, deaf=2)
    folders.manager.tell_master(True)
    assert folders.calls() == ["pyboot: supervise-daemon pyboot --signal HUP"] * 3
    assert not caplog.records


@pytest.mark.usefixtures("master")
def test_a_supervisor_that_never_hears_is_told_of(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    add_supervisor(folders, deaf=1000)
    folders.make_manager(0.3).tell_master(True)
    assert len(folders.calls()) > 1
    assert "could not be told of the changes: unable to open control fifo" in caplog.text


@pytest.mark.usefixtures("master")
def test_without_changes_the_script_tells_it(folders: Folders) -> None:
    add_supervisor(folders, deaf=0)
    folders.manager.tell_master(False)
    assert folders.calls() == []


@pytest.mark.parametrize("left", [False, True])
def test_a_master_that_is_down_is_not_told(
    folders: Folders, master: socket.socket, left: bool
) -> None:
    """One that was killed has left its socket."""
    add_supervisor(folders, deaf=1000)
    master.close()
    if not left:
        (folders.run / "metrics.sock").unlink()
    folders.manager.tell_master(True)
    assert folders.calls() == []
