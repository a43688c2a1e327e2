"""The service manager of `pyboot up`, with real child processes."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pytest
from support.poll import until

from pyboot_svc.identity import InstanceId
from pyboot_svc.logs import MARK_VARIABLE
from pyboot_svc.services import ServiceState
from pyboot_svc.services.foreground import ForegroundManager, Restarts
from pyboot_svc.services.lines import as_json, with_names
from pyboot_svc.services.log_lines import Said

A, B = InstanceId("a", 1), InstanceId("b", 2)
FOREVER = "import time\ntime.sleep(600)"

Manage = Callable[..., ForegroundManager]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[TextIO]:
    """Where the children's lines go: a file, since `capfd` loses some while they are written."""
    with (tmp_path / "output").open("w", encoding="utf-8") as stream:
        yield stream


@pytest.fixture
def manage(output: TextIO) -> Iterator[Manage]:
    """Runs the code of each instance as a child; nothing of it is left after the test."""
    managers: list[ForegroundManager] = []

    def start(
        code: str | dict[InstanceId, str],
        stop_seconds: float = 20.0,
        retry_seconds: tuple[float, float] = (0.02, 0.02),
        healthy_seconds: float = 60.0,
        only: Sequence[InstanceId] | None = None,
    ) -> ForegroundManager:
        codes = {A: code} if isinstance(code, str) else code
        python = [sys.executable, "-I", "-S", "-u", "-c"]
        manager = ForegroundManager(
            lambda identity: [*python, codes[identity]],
            stop_seconds,
            restarts=Restarts(*retry_seconds, healthy_seconds),
            show=with_names(output),
        )
        managers.append(manager)
        manager.start(list(codes) if only is None else only)
        return manager

    yield start
    for manager in managers:
        manager.stop()
        for state in manager.states().values():
            if state.pid is not None:  # a bug: it should have been stopped
                os.kill(state.pid, signal.SIGKILL)


@pytest.fixture
def shown(output: TextIO) -> Callable[[], list[str]]:
    """The children's lines so far."""

    def read() -> list[str]:
        return Path(output.name).read_text("utf-8").splitlines()

    return read


def test_when_memory_runs_out_a_worker_goes_first(manage: Manage) -> None:
    manager = manage(FOREVER)
    until(lambda: state(manager).pid is not None, "it runs")
    pid = state(manager).pid
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) >= 500


def state(manager: ForegroundManager, identity: InstanceId = A) -> ServiceState:
    return manager.states()[identity]


def wait_state(manager: ForegroundManager, wanted: str, identity: InstanceId = A) -> ServiceState:
    def reached() -> ServiceState | None:
        now = state(manager, identity)
        return now if now.state == wanted else None

    found = until(reached, f"{identity}: {wanted}")
    assert found
    return found


def wait_restarts(manager: ForegroundManager, count: int) -> ServiceState:
    until(lambda: state(manager).restarts >= count, f"{count} restarts")
    return state(manager)


def gone(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    # A zombie has ended; whoever is its parent now has not looked yet.
    return text.rpartition(")")[2].split()[0] == "Z"


def test_each_instance_runs_as_a_child_of_its_own(manage: Manage) -> None:
    manager = manage({A: FOREVER, B: FOREVER})
    first, second = wait_state(manager, "running", A), wait_state(manager, "running", B)
    assert first == ServiceState("running", first.pid, 0, None)
    assert first.pid != second.pid
    assert list(manager.states()) == [A, B]
    manager.stop()
    assert [s.state for s in manager.states().values()] == ["stopped", "stopped"]


def test_a_child_has_a_process_group_of_its_own(manage: Manage) -> None:
    pid = wait_state(manage(FOREVER), "running").pid
    assert pid is not None
    assert os.getpgid(pid) == pid


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("raise SystemExit(0)", "ended with exit code 0"),
        ("raise SystemExit(1)", "ended with exit code 1"),
        ("raise SystemExit(69)", "ended with exit code 69"),
        ("raise SystemExit(70)", "ended with exit code 70"),
        ("import os\nos.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os\nos.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("import os\nos.kill(os.getpid(), 50)", "killed by signal 50"),
    ],
)
def test_whoever_ends_is_started_again(
    manage: Manage, caplog: pytest.LogCaptureFixture, code: str, how: str
) -> None:
    manager = manage(code)
    assert wait_restarts(manager, 2).exit == how
    assert f"a-1: {how}; restarting in 0.0 s" in caplog.text


@pytest.mark.parametrize("code", [78, 64])
def test_whoever_would_end_the_same_way_again_is_not_started_again(
    manage: Manage, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    # The other one is restarted meanwhile: this one had its chance.
    manager = manage({A: f"raise SystemExit({code})", B: "raise SystemExit(1)"})
    failed = wait_state(manager, "failed")
    restarts = state(manager, B).restarts
    until(lambda: state(manager, B).restarts > restarts + 2, "b-2 is started again")
    assert (
        state(manager) == failed == ServiceState("failed", None, 0, f"ended with exit code {code}")
    )
    assert f"a-1: ended with exit code {code}; not restarting" in caplog.text
    manager.stop()
    assert state(manager) == failed


def planned_delays(caplog: pytest.LogCaptureFixture) -> list[float]:
    arguments = [record.args for record in caplog.records if "restarting in" in record.msg]
    return [delay for _, _, delay in arguments]  # type: ignore[misc]


def test_delays_grow(manage: Manage, caplog: pytest.LogCaptureFixture) -> None:
    manage("raise SystemExit(1)", retry_seconds=(0.01, 0.08))
    ceilings = [0.01, 0.02, 0.04, 0.08, 0.08, 0.08]
    until(lambda: len(planned_delays(caplog)) >= 6, "six delays")
    for delay, ceiling in zip(planned_delays(caplog)[:6], ceilings, strict=True):
        assert ceiling / 2 <= delay <= ceiling


def test_delays_start_anew_after_a_healthy_run(
    manage: Manage, caplog: pytest.LogCaptureFixture
) -> None:
    manage("raise SystemExit(1)", retry_seconds=(0.01, 60.0), healthy_seconds=0.0)
    until(lambda: len(planned_delays(caplog)) >= 6, "six delays")
    assert max(planned_delays(caplog)) <= 0.01


def test_it_says_restarting_between_two_runs(manage: Manage) -> None:
    manager = manage("raise SystemExit(3)", retry_seconds=(600.0, 600.0))
    wait_restarts(manager, 1)
    now = wait_state(manager, "restarting")
    assert now == ServiceState("restarting", None, 1, "ended with exit code 3")
    manager.stop()
    assert state(manager) == ServiceState("stopped", None, 1, "ended with exit code 3")


def test_it_never_says_stopped_while_it_restarts(manage: Manage) -> None:
    manager = manage("raise SystemExit(1)", retry_seconds=(0.001, 0.001))
    seen = set()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # look in between as often as can be
    try:
        while (now := state(manager)).restarts < 30:
            seen.add(now.state)
    finally:
        sys.setswitchinterval(interval)
    assert seen <= {"running", "restarting"}


def test_last_words_and_the_end_seen_together_are_both_taken(
    output: TextIO,
    shown: Callable[[], list[str]],
) -> None:
    many = [InstanceId("m", number) for number in range(1, 9)]
    manager = ForegroundManager(
        lambda _: ["/bin/sh", "-c", "echo bye"],
        20.0,
        restarts=Restarts(0.001, 0.001),
        show=with_names(output),
    )
    manager.start(many)
    try:
        until(lambda: all(s.restarts >= 10 for s in manager.states().values()), "10 ends of each")
    finally:
        manager.stop()
    for identity in many:
        ends = state(manager, identity).restarts
        assert shown().count(f"{identity} | > bye") in (ends, ends + 1)


def test_a_command_that_is_not_there_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    manager = ForegroundManager(
        lambda identity: ["/no/such/program"], 20.0, restarts=Restarts(0.01, 0.01)
    )
    manager.start([A])
    try:
        wait_restarts(manager, 3)
    finally:
        manager.stop()
    said = "a-1: can't be started: /no/such/program: No such file or directory"
    assert caplog.text.count(said) == 1, "once"
    assert state(manager).state == "stopped"


def test_output_comes_line_by_line_with_the_name_in_front(
    manage: Manage, shown: Callable[[], list[str]]
) -> None:
    manager = manage(
        {
            A: "import sys\nprint('one')\nprint('two', file=sys.stderr)\nprint()\n" + FOREVER,
            B: "print('grüße', end='', flush=True)\nraise SystemExit(78)",
        }
    )
    until(lambda: len(shown()) == 3, "three lines")
    wait_state(manager, "running", A)
    assert [line for line in shown() if line.startswith("a-1")] == ["a-1 | > one", "a-1 | > two"]
    assert "b-2 | > grüße" in shown()  # a last line without an end


def test_a_line_comes_out_once_it_is_complete(
    manage: Manage, shown: Callable[[], list[str]], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    manage(
        "import os, time\n"
        "print('first')\nprint('sec', end='')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('ond')\n" + FOREVER
    )
    until(lambda: shown() == ["a-1 | > first"], "the first line")
    go.touch()
    until(lambda: shown() == ["a-1 | > first", "a-1 | > second"], "the second line")


def test_only_what_has_the_mark_is_of_the_log(
    manage: Manage, shown: Callable[[], list[str]]
) -> None:
    manage(
        f"import os\nmark = os.environ[{MARK_VARIABLE!r}]\n"
        "print(mark + '1 ERROR own')\nprint('1 ERROR own')\n"
        "print('begun', end='')\nprint(mark + '    more')\nprint('    more')\n" + FOREVER
    )
    until(lambda: len(shown()) == 5, "five lines")
    assert [line.removeprefix("a-1 | ") for line in shown()] == [
        *("1 ERROR own", "> 1 ERROR own", "> begun", "    more", ">     more")
    ]


def test_each_process_has_a_mark_of_its_own(manage: Manage, shown: Callable[[], list[str]]) -> None:
    twice = f"import os\nprint(os.environ[{MARK_VARIABLE!r}] * 2)\n"
    manage(dict.fromkeys((A, B), twice + FOREVER))
    until(lambda: len(shown()) == 2, "a mark of each")
    marks = {line.partition(" | ")[2] for line in shown()}
    assert {len(mark) for mark in marks} == {32}
    assert len(marks) == 2


def test_a_very_long_line_comes_in_parts_and_whole(
    manage: Manage, shown: Callable[[], list[str]]
) -> None:
    manager = manage(
        "import sys\nsys.stdout.write('x' * 1_000_000 + '\\nend\\n')\nraise SystemExit(78)"
    )
    wait_state(manager, "failed")
    until(lambda: "a-1 | > end" in shown(), "the last line")
    parts = [line.removeprefix("a-1 | > ") for line in shown()]
    assert "".join(parts) == "x" * 1_000_000 + "end"
    assert max(map(len, parts)) < 200_000


def test_as_json_each_line_is_an_object(output: TextIO) -> None:
    show = as_json(output)
    entry = '{"level": "info", "message": "m"}'
    show(A, Said(entry.encode(), own=True))
    printed = [entry, "ä", "{\x7f\x9b\x85\u202e}", "[1]", "{", "7"]
    for text in (*printed, "\r"):
        show(A, Said(f"{text}\r".encode(), own=False))
    show(A, Said(b"no object \xff", own=True))
    said = Path(output.name).read_text("utf-8")
    assert said.isascii()
    first, *others = map(json.loads, said.splitlines())
    assert first == {"level": "info", "message": "m"}
    assert [one["message"] for one in others] == [*printed, "\r", "no object \ufffd"]
    assert {frozenset(one) for one in others} == {frozenset(("time", "message", "instance"))}
    assert {one["instance"] for one in others} == {"a-1"}
    assert all(one["time"] > 0 for one in others)


def test_output_that_is_no_text_does_no_harm(
    manage: Manage, shown: Callable[[], list[str]]
) -> None:
    manage(
        "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\n\\x00good\\n')\n"
        "sys.stdout.buffer.flush()\n" + FOREVER
    )
    until(lambda: len(shown()) == 2, "two lines")
    assert shown() == ["a-1 | > \ufffd\ufffd", "a-1 | > \\x00good"]


def test_one_that_closes_its_output_is_left_alone(manage: Manage, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    manager = manage(f"import os\nos.close(1)\nos.close(2)\nopen({str(closed)!r}, 'w')\n" + FOREVER)
    until(closed.exists, "its output is closed")
    # It may have got so far before the manager's thread has noted that it runs.
    assert wait_state(manager, "running").restarts == 0
    manager.stop()
    assert state(manager) == ServiceState("stopped", None, 0, "killed by SIGTERM")


def test_stop_asks_with_sigterm(manage: Manage, shown: Callable[[], list[str]]) -> None:
    manager = manage(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye'), sys.exit(0)))\n"
        "print('ready')\n" + FOREVER
    )
    until(lambda: shown() == ["a-1 | > ready"], "its handler is there")
    manager.stop()
    assert shown() == ["a-1 | > ready", "a-1 | > goodbye"]
    assert state(manager) == ServiceState("stopped", None, 0, "ended with exit code 0")


def test_stop_kills_one_that_does_not_listen_and_leaves_the_others_their_time(
    manage: Manage, shown: Callable[[], list[str]]
) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\n"
    manager = manage({A: deaf + FOREVER, B: FOREVER}, stop_seconds=0.3)
    until(lambda: shown() == ["a-1 | > ready"], "it is deaf")
    wait_state(manager, "running", B)
    manager.stop()
    assert state(manager, A) == ServiceState("stopped", None, 0, "killed by SIGKILL")
    assert state(manager, B) == ServiceState("stopped", None, 0, "killed by SIGTERM")


def test_stop_starts_nothing_again(manage: Manage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    manager = manage(FOREVER, retry_seconds=(0.0, 0.0))
    wait_state(manager, "running")
    manager.stop()
    manager.stop()
    assert state(manager) == ServiceState("stopped", None, 0, "killed by SIGTERM")
    assert caplog.records == []


def test_stop_before_anything_was_started() -> None:
    manager = ForegroundManager(lambda identity: ["true"], 1.0)
    manager.stop()
    assert manager.states() == {}


def test_what_is_added_runs_beside_the_others(manage: Manage) -> None:
    manager = manage({A: FOREVER, B: FOREVER}, only=[A])
    pid = wait_state(manager, "running", A).pid
    manager.add([B])
    wait_state(manager, "running", B)
    assert state(manager, A).pid == pid


def test_what_is_removed_ends_and_is_forgotten(manage: Manage) -> None:
    manager = manage({A: FOREVER, B: FOREVER})
    pid = wait_state(manager, "running", A).pid
    other = wait_state(manager, "running", B)
    assert pid is not None
    manager.remove([A])
    assert gone(pid)
    assert manager.states() == {B: other}
    manager.add([A])
    assert wait_state(manager, "running", A).restarts == 0


def test_what_is_removed_and_does_not_listen_is_killed(
    manage: Manage, shown: Callable[[], list[str]]
) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\n"
    manager = manage(deaf + FOREVER, stop_seconds=0.1)
    until(shown, "it is deaf")
    manager.remove([A])
    assert manager.states() == {}


@pytest.mark.parametrize("code", ["raise SystemExit(78)", "raise SystemExit(1)"])
def test_what_does_not_run_is_removed_at_once(manage: Manage, code: str) -> None:
    manager = manage(code, retry_seconds=(600.0, 600.0))
    until(lambda: state(manager).exit, "it has ended")
    manager.remove([A])
    assert manager.states() == {}


def test_a_restart_is_another_process_and_no_failure(
    manage: Manage, caplog: pytest.LogCaptureFixture
) -> None:
    manager = manage({A: FOREVER, B: FOREVER}, retry_seconds=(600.0, 600.0))
    pid, other = wait_state(manager, "running", A).pid, wait_state(manager, "running", B)
    manager.restart([A])
    # From then on, the old one isn't taken for the new.
    assert state(manager, A).state == "restarting" or state(manager, A).pid != pid
    now = wait_state(manager, "running", A)
    assert now == ServiceState("running", now.pid, 0, "killed by SIGTERM")
    assert now.pid != pid
    assert state(manager, B) == other
    assert caplog.records == []


@pytest.mark.parametrize("code", [78, 1])
def test_a_restart_of_what_has_given_up_or_waits_starts_it_now(
    manage: Manage, tmp_path: Path, code: int
) -> None:
    mended = tmp_path / "mended"
    manager = manage(
        f"import os\nif not os.path.exists({str(mended)!r}): raise SystemExit({code})\n" + FOREVER,
        retry_seconds=(600.0, 600.0),
    )
    until(lambda: state(manager).exit and state(manager).pid is None, "it has ended")
    mended.touch()
    manager.restart([A])
    assert wait_state(manager, "running").exit == f"ended with exit code {code}"


def test_a_stop_amid_a_removal_ends_both(manage: Manage, shown: Callable[[], list[str]]) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\n"
    manager = manage(deaf + FOREVER, stop_seconds=0.5)
    until(shown, "it is deaf")
    removal = threading.Thread(target=manager.remove, args=([A],))
    removal.start()
    manager.stop()
    removal.join(20)
    assert not removal.is_alive()
    assert all(one.state == "stopped" for one in manager.states().values())


GRANDCHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", {FOREVER!r}])
print("grandchild", child.pid)
"""


@pytest.mark.parametrize("end", ["raise SystemExit(78)", FOREVER])
def test_nothing_of_a_child_is_left(
    manage: Manage, shown: Callable[[], list[str]], end: str
) -> None:
    manager = manage(GRANDCHILD + end)
    [said] = until(shown, "it has a child")
    found = re.search(r"grandchild (\d+)", said)
    assert found
    if end == FOREVER:
        manager.stop()
    else:
        wait_state(manager, "failed")
    until(lambda: gone(int(found[1])), "the grandchild is gone")


HOST = """
import sys, time
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.foreground import ForegroundManager

manager = ForegroundManager(lambda identity: [sys.executable, "-I", "-S", *sys.argv[1:]], 20.0)
manager.start([InstanceId("a", 1)])
time.sleep(600)
"""
LEFT_ALONE = """
import os, sys
open(sys.argv[1], "w").write(f"{os.getpid()}\\n")
sys.stdin.read()
open(sys.argv[1], "a").write("alone")
"""


def test_a_child_notices_when_its_manager_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.touch()
    host = subprocess.Popen([sys.executable, "-P", "-c", HOST, "-c", LEFT_ALONE, str(told)])
    try:
        until(lambda: "\n" in told.read_text(), "the child is there")
    finally:
        host.kill()
        host.wait()
    try:
        until(lambda: told.read_text().endswith("alone"), "the child's input has ended")
    finally:
        child = int(told.read_text().splitlines()[0])
        if not gone(child):
            os.kill(child, signal.SIGKILL)
