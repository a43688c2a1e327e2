"""The files of systemd's manager: what it writes, finds again, and removes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services import systemd
from pyboot_svc.services.files import read_text, update_text
from pyboot_svc.services.plan import Applied, Wanted, make_plan
from pyboot_svc.services.systemd import SystemdManager, unit_state

SHIPPED = Path(__file__).parents[3] / "systemd"
PUMP, FAN = InstanceId("pump", 1), InstanceId("fan.a-b", 12)
WANTED = [Wanted(PUMP, '{"a": 1}\n', "[Service]\nNice=1\n"), Wanted(FAN, "{}\n", "[Service]\n")]


class Folders:
    """A manager on folders of its own, and a systemctl that only notes what it is asked for."""

    def __init__(self, base: Path) -> None:
        self.units, self.run = base / "units", base / "run"
        self.program = base / "bin" / "systemctl"
        self.program.parent.mkdir()
        self.program.write_text(f'#!/bin/sh\necho "$*" >>{base}/calls\n')
        self.program.chmod(0o755)
        self._calls = base / "calls"
        self.manager = SystemdManager(self.run, self.units)

    def write(self, *wanted: Wanted) -> None:
        """Both kinds of files, as an apply does."""
        self.manager.write_units(wanted, [])
        for item in wanted:
            self.manager.write_compiled(item)

    def reloads(self) -> int:
        return (read_text(self._calls) or "").count("daemon-reload")

    def drop_in(self, name: str) -> Path:
        return self.units / f"edge-model@{name}.service.d" / "50-pyboot.conf"

    def link(self, name: str) -> Path:
        return self.units / "edge-model.target.wants" / f"edge-model@{name}.service"

    def compiled(self, name: str) -> Path:
        return self.run / "instances" / f"{name}.json"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    made = Folders(tmp_path)
    monkeypatch.setenv("PATH", str(made.program.parent), prepend=os.pathsep)
    monkeypatch.setattr(systemd, "TEMPLATE_DIRS", (str(tmp_path), str(SHIPPED)))
    return made


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_an_instance_is_a_drop_in_a_link_and_a_compiled_file(folders: Folders) -> None:
    folders.write(*WANTED)
    for name, item in (("pump-1", WANTED[0]), ("fan.a-b-12", WANTED[1])):
        assert folders.drop_in(name).read_text() == item.unit
        assert folders.compiled(name).read_text() == item.compiled
        assert folders.link(name).readlink() == SHIPPED / "edge-model@.service"


def test_what_was_written_is_found_again(folders: Folders) -> None:
    folders.write(*WANTED)
    applied = folders.manager.applied()
    assert applied == {item.identity: Applied(*_fields(item)) for item in WANTED}
    assert not make_plan(WANTED, applied).changes


def _fields(item: Wanted) -> tuple[InstanceId, str, str]:
    return item.identity, item.compiled, item.unit


def test_one_reload_for_all_and_none_when_nothing_differs(folders: Folders) -> None:
    folders.write(*WANTED)
    assert folders.reloads() == 1
    before = folders.drop_in("pump-1").stat()
    folders.write(*WANTED)
    assert folders.reloads() == 1
    after = folders.drop_in("pump-1").stat()
    # It was read, which may change when it was last read.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_compiled_file_alone_needs_no_reload(folders: Folders) -> None:
    folders.write(*WANTED)
    folders.write(Wanted(PUMP, "{}", WANTED[0].unit))
    assert folders.reloads() == 1
    assert folders.compiled("pump-1").read_text() == "{}"


@pytest.mark.parametrize("lost", ["link", "drop_in"])
def test_a_file_that_somebody_removed_comes_back(folders: Folders, lost: str) -> None:
    folders.write(*WANTED)
    getattr(folders, lost)("pump-1").unlink()
    assert make_plan(WANTED, folders.manager.applied()).changes
    folders.write(*WANTED)
    assert folders.reloads() == 2
    assert not make_plan(WANTED, folders.manager.applied()).changes


def test_removal_takes_all_of_one_instance_and_nothing_else(folders: Folders) -> None:
    folders.write(*WANTED)
    folders.manager.write_units([WANTED[1]], [PUMP])
    assert folders.reloads() == 2
    assert folders.manager.applied().keys() == {FAN}
    left = [path.name for path in folders.units.parent.rglob("*pump-1*")]
    assert left == []


def test_removing_what_is_half_gone_does_not_fail(folders: Folders) -> None:
    folders.write(*WANTED)
    folders.link("pump-1").unlink()
    folders.compiled("pump-1").unlink()
    folders.manager.write_units([], [PUMP])
    assert folders.manager.applied().keys() == {FAN}


def test_files_of_others_are_no_instances(folders: Folders) -> None:
    folders.write(*WANTED)
    for name in ("edge-model@.service.d", "edge-model@pump.service.d", "edge-model@x-0.service.d"):
        (folders.units / name).mkdir()
    for name in ("notes.json", ".pump-2.json.new", "-1.json", "pump-3.json.bak"):
        (folders.run / "instances" / name).touch()
    assert folders.manager.applied().keys() == {PUMP, FAN}


def test_without_any_file_nothing_is_applied(folders: Folders) -> None:
    assert folders.manager.applied() == {}


def test_without_the_template_there_is_a_clear_error(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(systemd, "TEMPLATE_DIRS", (str(tmp_path),))
    with pytest.raises(UnavailableError, match=r"edge-model@\.service is not installed"):
        folders.write(*WANTED)


def test_a_daemon_reload_that_fails_is_an_error(folders: Folders) -> None:
    folders.program.write_text("#!/bin/sh\necho 'no bus' >&2\nexit 1\n")
    with pytest.raises(UnavailableError, match="systemctl daemon-reload failed: no bus"):
        folders.write(*WANTED)


@pytest.mark.parametrize(
    ("active", "sub", "job", "expected"),
    [
        ("active", "running", "", "ready"),
        ("active", "running", "77", ""),  # about to be restarted
        ("deactivating", "stop-sigterm", "77", ""),
        ("inactive", "dead", "77", ""),  # in the middle of a restart
        ("activating", "start", "77", ""),
        ("activating", "auto-restart", "", ""),
        ("failed", "failed", "", "failed"),
        ("inactive", "dead", "", "stopped"),
    ],
)
def test_a_unit_on_its_way_is_in_no_state_yet(
    folders: Folders, active: str, sub: str, job: str, expected: str
) -> None:
    facts = f"Id=edge-model@pump-1.service\nActiveState={active}\nSubState={sub}\nJob={job}"
    folders.program.write_text(f"#!/bin/sh\necho '{facts}'\n")
    state = folders.manager.states([PUMP])[PUMP]
    told = {name for name in ("ready", "failed", "stopped") if getattr(state, name)}
    assert told == ({expected} if expected else set())


def facts(**more: str) -> dict[str, str]:
    return {"Id": "edge-model@pump-1.service", "Result": "success", **more}


AUTO = {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}
START = {"ActiveState": "activating", "SubState": "start", "Job": "7"}
UP = {"ActiveState": "active", "SubState": "running"}
FIGURES = "; in 0/s, out 0/s, pre_queue 0, post_queue 0, errors 0"


@pytest.mark.parametrize(
    ("shown", "word", "detail"),
    [
        ({**UP, "StatusText": f"ready{FIGURES}"}, "ready", f"active (running): ready{FIGURES}"),
        (
            {**UP, "StatusText": f"waiting: post broker a; b:1: unknown host{FIGURES}"},
            "waiting",
            f"active (running): waiting: post broker a; b:1: unknown host{FIGURES}",
        ),
        (
            {**START, "StatusText": f"waiting: pre broker a:1: no answer{FIGURES}"},
            "waiting",
            f"activating (start): waiting: pre broker a:1: no answer{FIGURES}",
        ),
        (
            {**UP, "StatusText": "ready\x1b]0;\u202eowned\x07"},
            "ready",
            r"active (running): ready\x1b]0;\u202eowned\x07",
        ),
        (
            {**START, "StatusText": "loading the model"},
            "starting",
            "activating (start): loading the model",
        ),
        (
            {**AUTO, "ExecMainCode": "1", "ExecMainStatus": "70"},
            "failing",
            "ended, will be restarted: exit code 70: an internal error "
            "(journalctl -u edge-model@pump-1)",
        ),
        ({**AUTO, "Job": "7", "ExecMainStatus": "226"}, "starting", "activating (auto-restart)"),
        (
            {**AUTO, "ExecMainCode": "2", "ExecMainStatus": "9", "Result": "signal"},
            "failing",
            "ended, will be restarted: was ended by SIGKILL (",
        ),
        (
            {**AUTO, "ExecMainCode": "3", "ExecMainStatus": "6", "Result": "watchdog"},
            "failing",
            "ended, will be restarted: made no progress, and was ended by the watchdog (",
        ),
        (
            {
                "ActiveState": "failed",
                "SubState": "failed",
                "Result": "exit-code",
                "ExecMainCode": "1",
                "ExecMainStatus": "78",
                "StatusText": "no module 'x'",
            },
            "failed",
            "failed: exit code 78: the configuration or the model can't be loaded: no module 'x' (",
        ),
    ],
)
def test_the_state_of_a_unit_in_words(shown: dict[str, str], word: str, detail: str) -> None:
    state = unit_state(facts(**shown))
    assert state.word == word
    assert state.detail.startswith(detail)
    assert not state.hopeless
    assert state.works == (word == "ready")


@pytest.mark.parametrize(
    ("status", "reason", "forbidden"),
    [
        ("226", "exit status 226 (NAMESPACE): the host forbids its sandbox", True),
        ("217", "exit status 217 (USER): its user doesn't exist", True),
        ("243", "exit status 243 (CREDENTIALS): one of its secret files is missing", False),
        ("200", "exit status 200 (CHDIR): ", False),
        ("203", "exit status 203 (EXEC): ", False),
        ("219", "exit status 219 (CGROUP): ", False),
    ],
)
def test_what_systemd_can_not_prepare_is_said_in_words(
    status: str, reason: str, forbidden: bool
) -> None:
    state = unit_state(facts(**AUTO, ExecMainCode="1", ExecMainStatus=status))
    assert reason in state.detail
    assert state.hopeless
    assert ("[Service]\nDynamicUser=no\n" in state.advice) == forbidden


@pytest.mark.usefixtures("strict_umask")
def test_everybody_may_read_a_unit_and_only_its_owner_the_configuration(folders: Folders) -> None:
    folders.write(*WANTED)
    assert folders.drop_in("pump-1").stat().st_mode & 0o777 == 0o644
    assert folders.compiled("pump-1").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_text_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xff\x00")
    assert update_text(file, "new")
    assert file.read_text() == "new"


def test_whoever_has_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    update_text(file, "old")
    link.hardlink_to(file)
    update_text(file, "new")
    assert (link.read_text(), file.read_text()) == ("old", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    texts = [character * 100_000 for character in "ab"]
    update_text(file, texts[0])
    seen: set[str | None] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(read_text(file))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        update_text(file, texts[number % 2])
    done.set()
    reader.join()
    assert seen <= set(texts)
    assert seen
