"""Models do in a worker what they do in a notebook, whatever libraries make of the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import Up, run_pyboot
from support.client import Plant
from support.poll import until
from support.workers import Workers

COMMON = """
import decimal
import json
import logging
import os
import threading
"""

Start = Callable[..., Workers]


@pytest.fixture
def start(
    write_config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> Start:
    """Runs `model` of the code as the edge `edge-1`; the plant listens to its results."""

    def run(code: str, more: str = "", arguments: tuple[str, ...] = ()) -> Workers:
        edge = (
            f"{{name: edge, edge_mode: my_models.model, pre_qos: 1, post_qos: 1, "
            f"pre_topic: {topic}/in, post_topic: {topic}/out{more}}}"
        )
        started = workers(write_config(edge, models=COMMON + code), *arguments)
        plant.subscribe(f"{topic}/out")
        return started

    return run


@pytest.fixture
def ask(plant: Plant, topic: str) -> Callable[..., list[Any]]:
    """Publishes these payloads and gives the results that come."""

    def send(*payloads: Any) -> list[Any]:
        before = len(plant.wait_for(0))
        for payload in payloads:
            plant.publish(f"{topic}/in", payload, qos=1)
        return plant.wait_for(before + len(payloads))[before:]

    return send


def worker(started: Workers) -> int:
    pid: int = started.instance("edge-1")["pid"]
    return pid


ONE_THREAD = """
import sqlite3

decimal.getcontext().prec = 50
where = [threading.get_ident()]
database = sqlite3.connect(":memory:")

class model:
    def __init__(self):
        where.append(threading.get_ident())
        database.execute("CREATE TABLE seen (n)")

    def __call__(self, payload):
        where.append(threading.get_ident())
        database.execute("INSERT INTO seen VALUES (?)", (payload,))
        [[count]] = database.execute("SELECT count(*) FROM seen")
        third = str(decimal.Decimal(1) / 3)
        main = threading.current_thread() is threading.main_thread()
        return [len(set(where)), main, count, len(third)]

    def close(self):
        where.append(threading.get_ident())
        with open(os.environ["CLOSED"], "w") as file:
            json.dump(len(set(where)), file)
"""


def test_all_of_a_model_is_in_one_thread(
    start: Start, ask: Callable[..., list[Any]], tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    started = start(ONE_THREAD, f", environment: {{CLOSED: {closed}}}")
    assert ask(1, 2) == [[1, True, 1, 52], [1, True, 2, 52]]
    assert started.stop() == 0
    assert closed.read_text() == "1"


def test_several_threads_have_the_context_that_the_import_set(
    start: Start, ask: Callable[..., list[Any]]
) -> None:
    code = """
decimal.getcontext().prec = 50
def model(payload):
    decimal.getcontext().prec += 1  # its own
    return len(str(decimal.Decimal(1) / 3)) > 50, threading.current_thread().name
"""
    start(code, ", threads: 3")
    found = ask(*range(12))
    assert all(enough for enough, _ in found)
    assert {name for _, name in found} <= {"model-0", "model-1", "model-2"}


def test_what_a_model_keeps_as_it_closes_is_saved(
    start: Start, ask: Callable[..., list[Any]], tmp_path: Path
) -> None:
    code = """
class model:
    def __init__(self, context):
        self.state = context.state
    def __call__(self, payload):
        return self.state.get("closed", 0)
    def close(self):
        self.state["closed"] = self.state.get("closed", 0) + 1
"""
    state = ("--state-dir", str(tmp_path / "state"))
    started = start(code, arguments=state)
    assert ask(1) == [0]
    started.stop()
    start(code, arguments=state)
    assert ask(1) == [1]


def test_a_close_that_fails_spoils_no_stop(start: Start, ask: Callable[..., list[Any]]) -> None:
    code = """
class model:
    def __call__(self, payload):
        return payload
    def close(self):
        raise OSError("the device is gone")
"""
    started = start(code)
    assert ask(1) == [1]
    assert started.stop() == 0
    assert "the model's close() failed: the model raised OSError: the device is gone" in started.log


def caught(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM, which is not blocked."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    bit = 1 << (signal.SIGTERM - 1)
    return bool(int(masks["SigCgt"], 16) & bit) and not int(masks["SigBlk"], 16) & bit


GRABS = {
    "default": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)",
    "ignored": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "own": "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(1))",
    "wakeup": "import signal\nsignal.set_wakeup_fd(-1)",
    "blocked": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
    "all": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
    "signal.set_wakeup_fd(-1)\n"
    "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())",
}


@pytest.mark.parametrize(
    ("grab", "within"),
    # When one of its own was taken back can't be seen from here.
    [(name, at) for name in GRABS for at in ("import", "call") if (name, at) != ("own", "call")],
)
def test_signals_that_a_library_takes(
    start: Start, ask: Callable[..., list[Any]], plant: Plant, topic: str, grab: str, within: str
) -> None:
    code = GRABS[grab]
    in_first_call = f"if payload == 100: exec({code!r})"
    at_import, in_call = (code, "") if within == "import" else ("", in_first_call)
    lines = ["import time", at_import, "def model(payload):", "    time.sleep(0.3)"]
    started = start("\n".join([*lines, f"    {in_call}", "    return payload"]))
    assert ask(100) == [100]
    until(lambda: within == "import" or caught(worker(started)), "it was taken back")
    for number in range(5):
        plant.publish(f"{topic}/in", number, qos=1)
    until(lambda: started.instance("edge-1")["counters"]["received"] == 6, "all have come")
    os.kill(worker(started), signal.SIGTERM)
    assert plant.wait_for(6)[1:] == [0, 1, 2, 3, 4], started.log
    until(lambda: "edge-1: stopped" in started.log, "it was drained")


LOGS = {
    "dictConfig": "import logging.config\nlogging.config.dictConfig({'version': 1})",
    "basicConfig": "logging.basicConfig(force=True, stream=open(os.devnull, 'w'))",
    "disable": "logging.disable(logging.CRITICAL)",
    "level": "logging.getLogger().setLevel(logging.CRITICAL)",
}


@pytest.mark.parametrize("grab", LOGS.values(), ids=LOGS)
def test_pyboots_own_lines_are_written_whatever_a_library_configures(
    start: Start, ask: Callable[..., list[Any]], plant: Plant, topic: str, grab: str
) -> None:
    code = f"""
{grab}
def model(payload, context):
    {grab.splitlines()[-1]}
    context.logger.info("payload %s", payload)
    return 1 / payload
"""
    started = start(code)
    assert ask(1) == [1.0]
    plant.publish(f"{topic}/in", 0, qos=1)
    started.wait_log("message failed (model)")
    started.wait_log("INFO payload 1")
    started.stop()
    assert "edge-1: stopped" in started.log


def test_print_to_a_full_disk_costs_the_line(start: Start, ask: Callable[..., list[Any]]) -> None:
    code = """
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
def model(payload):
    print("x" * 100_000, flush=True)
    return payload
"""
    started = start(code)
    assert ask(1, 2) == [1, 2]
    assert started.instance("edge-1")["errors"] == {}


def test_a_log_on_a_full_disk_costs_lines_and_no_message(
    start: Start, ask: Callable[..., list[Any]]
) -> None:
    code = """
for descriptor in (1, 2):
    os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
def model(payload, context):
    context.logger.warning("payload %s", payload)
    return {1: "one", 2: "two"}[payload]
"""
    started = start(code)
    assert ask(1, 2) == ["one", "two"]
    assert started.instance("edge-1")["errors"] == {}
    assert started.stop() == 0


CHILDREN = {
    "fork": 'multiprocessing.get_context("fork").Pool(2)',
    "spawn": 'multiprocessing.get_context("spawn").Pool(1)',
    "forkserver": 'multiprocessing.get_context("forkserver").Pool(1)',
    "executor": "concurrent.futures.ProcessPoolExecutor(1)",
}


@pytest.mark.parametrize("pool", CHILDREN.values(), ids=CHILDREN)
def test_processes_of_a_model(start: Start, ask: Callable[..., list[Any]], pool: str) -> None:
    code = f"""
import concurrent.futures, multiprocessing, signal, time

class model:
    def __init__(self):
        self.pool = None
    def __call__(self, payload):
        if self.pool is None:
            self.pool = {pool}
        found = list(self.pool.map(abs, payload))
        handlers = list(self.pool.map(signal.getsignal, [signal.SIGTERM]))
        return found + [handlers == [signal.SIG_DFL]]
    def close(self):
        getattr(self.pool, "terminate", getattr(self.pool, "shutdown", None))()
"""
    started = start(code)
    assert ask([-1, 2], [-3]) == [[1, 2, True], [3, True]]
    pid = worker(started)
    assert started.stop() == 0
    until(lambda: not Path(f"/proc/{pid}").exists(), "it has ended")
    assert "failed" not in started.log


def test_a_child_that_is_forked_ends_by_a_signal(
    start: Start, ask: Callable[..., list[Any]]
) -> None:
    code = """
import signal, time
def model(payload):
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    time.sleep(0.1)
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
    start(code)
    assert ask(1) == [-signal.SIGTERM]


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("raise ValueError('in the child')", 1, "ValueError: in the child"),
        ("return 'of the child'", 1, "a process that the model has forked came back from the"),
    ],
    ids=["exit 3", "exit", "raise", "return"],
)
def test_a_child_that_is_forked_is_no_second_worker(
    start: Start, ask: Callable[..., list[Any]], end: str, code: int, says: str
) -> None:
    """It has the connections, the state and the messages in hand of the first."""
    started = start(
        f"""
import sys
def model(payload, context):
    context.state["n"] = payload
    child = os.fork()
    if child == 0:
        {end}
    return [payload, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
"""
    )
    assert ask(1, 2) == [[1, code], [2, code]]
    started.wait_log(says)


def test_it_works_in_the_folder_of_the_model(
    start: Start, ask: Callable[..., list[Any]], tmp_path: Path
) -> None:
    (tmp_path / "weights.json").write_text("[3]")
    start("weights = json.load(open('weights.json'))\ndef model(p): return [os.getcwd(), weights]")
    assert ask(1) == [[str(tmp_path), [3]]]


def test_an_import_that_holds_the_gil_is_one_start(
    write_config: Callable[..., Path], up: Callable[..., Up], topic: str
) -> None:
    """Nobody can answer the watchdog meanwhile."""
    code = """
import ctypes
ctypes.PyDLL(None).sleep(6)
def model(payload): return payload
"""
    topics = f"pre_topic: {topic}/in, post_topic: {topic}/out"
    edge = f"{{name: edge, edge_mode: my_models.model, {topics}}}"
    started = up(write_config(edge, models=code), "--watchdog-seconds", "2")
    assert started.instance("edge-1")["service"]["restarts"] == 0
    assert "stalled" not in started.log


def test_coroutines(start: Start, ask: Callable[..., list[Any]]) -> None:
    code = """
import asyncio
async def model(payload, context):
    await asyncio.sleep(0.01)
    return [payload, context.topic.rsplit("/")[-1], id(asyncio.get_running_loop())]
"""
    start(code)
    [one, other] = ask(1, 2)
    assert (one[:2], other[:2], one[2] == other[2]) == ([1, "in"], [2, "in"], True)


def test_an_exception_that_is_named_is_repeated_and_others_are_not(
    start: Start, ask: Callable[..., list[Any]], plant: Plant, topic: str
) -> None:
    code = """
calls = {}
def model(payload):
    calls[payload["of"]] = calls.get(payload["of"], 0) + 1
    if payload["of"] == "key":
        raise KeyError("value")
    if calls[payload["of"]] < 3:
        raise json.JSONDecodeError("", "", 0) if payload["of"] == "json" else LookupError
    return calls
"""
    more = ", on_error: {retry: [json.JSONDecodeError], backoff: 0.01}"
    started = start(code, more)
    plant.publish(f"{topic}/in", {"of": "key"}, qos=1)
    plant.publish(f"{topic}/in", {"of": "lookup"}, qos=1)
    assert ask({"of": "json"}) == [{"key": 1, "lookup": 1, "json": 3}]
    assert started.instance("edge-1")["errors"] == {"model": 2}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_context_that_was_kept_is_as_good_as_the_one_of_the_call(
    start: Start,
    ask: Callable[..., list[Any]],
    plant: Plant,
    topic: str,
    tmp_path: Path,
    threads: int,
) -> None:
    code = """
class model:
    def __init__(self, context):
        self.context = context
        context.state.setdefault("n", 0)
    def __call__(self, payload):
        state = self.context.state
        state["n"] += 1
        seen = state.get("seen", [])
        seen.append(payload)
        state["seen"] = seen
        if payload == 2:
            raise KeyError(payload)
        return [state["n"], state["seen"]]
"""
    more, arguments = f", threads: {threads}", ("--state-dir", str(tmp_path / "state"))
    started = start(code, more, arguments)
    assert ask(1) == [[1, [1]]]
    plant.publish(f"{topic}/in", 2, qos=1)
    until(lambda: started.instance("edge-1")["errors"] == {"model": 1}, "it has failed")
    # Of several threads nobody knows whose call it is, what was kept is changed at once.
    count, seen = (2, [1, 3]) if threads == 1 else (3, [1, 2, 3])
    assert ask(3) == [[count, seen]]
    started.stop()
    start(code, more, arguments)
    assert ask(4) == [[count + 1, [*seen, 4]]]


def test_what_a_kept_context_lends_is_kept_when_it_is_changed_in_place(
    start: Start, ask: Callable[..., list[Any]], tmp_path: Path
) -> None:
    code = """
class model:
    def __init__(self, context):
        self.context = context
    def __call__(self, payload):
        self.context.state.setdefault("seen", []).append(payload)
        return [self.context.state["seen"], self.context.topic.rsplit("/")[-1]]
    def close(self):
        self.context.state["seen"].append("closed")
"""
    arguments = ("--state-dir", str(tmp_path / "state"))
    started = start(code, "", arguments)
    assert ask(1, 2) == [[[1], "in"], [[1, 2], "in"]]
    started.stop()
    start(code, "", arguments)
    assert ask(3) == [[[1, 2, "closed", 3], "in"]]


CONCURRENT = """
import asyncio, time

running = most = 0

async def model(payload, context):
    global running, most
    running += 1
    most = max(most, running)
    context.state["n"] = context.state.get("n", 0) + 1
    try:
        await asyncio.sleep(0.3 if payload % 2 else 0.05)
        if payload % 10 == 5:
            raise KeyError(payload)
        return [payload, most, context.topic.rsplit("/")[-1]]
    finally:
        running -= 1
"""


def test_many_calls_at_once_keep_their_order(start: Start, plant: Plant, topic: str) -> None:
    started = start(CONCURRENT, ", concurrency: 8")
    for number in range(40):
        plant.publish(f"{topic}/in", number, qos=1)
    found = plant.wait_for(36, 60.0)
    assert [payload for payload, _, _ in found] == [n for n in range(40) if n % 10 != 5]
    assert max(most for _, most, _ in found) > 4
    assert {topic for _, _, topic in found} == {"in"}
    assert started.instance("edge-1")["errors"] == {"model": 4}
    until(lambda: started.instance("edge-1")["unacknowledged"] == 0, "all are acknowledged")


def test_concurrency_needs_a_coroutine_function(
    write_config: Callable[..., Path], track: Callable[..., Any], tmp_path: Path
) -> None:
    edge = "{name: edge, edge_mode: my_models.model, pre_topic: i, post_topic: o, concurrency: 2}"
    config = write_config(edge, models="def model(payload): return payload")
    ended = run_pyboot("worker", "edge-1", "-c", str(config), "--state-dir", str(tmp_path / "s"))
    assert ended.returncode == 78
    assert "`concurrency` needs a model that is an `async def`" in ended.stderr


def test_a_call_among_many_that_never_ends_is_given_up_alone(
    start: Start, plant: Plant, topic: str
) -> None:
    code = """
import asyncio
async def model(payload):
    if payload == 3:
        await asyncio.sleep(3600)
    return payload
"""
    started = start(code, ", concurrency: 4, model_timeout: 2")
    for number in range(8):
        plant.publish(f"{topic}/in", number, qos=1)
    assert plant.wait_for(7, 60.0) == [0, 1, 2, 4, 5, 6, 7]
    assert started.instance("edge-1")["errors"] == {"timeout": 1}


LATE = """
gate = threading.Event()

class model:
    def __init__(self, context):
        self.context = context

    def __call__(self, payload):
        state = self.context.state
        state["n"] = state.get("n", 0) + 1
        if payload == 2:
            gate.wait(60)
            said = []
            for change in (lambda: state.update(n=100), lambda: self.context.publish(100)):
                try:
                    change()
                except RuntimeError as error:
                    said.append(str(error))
            self.context.logger.warning("too late: %s", said)
        if payload == 4:
            gate.set()
        return [payload, state["n"]]
"""


def test_a_call_that_ends_after_it_was_given_up_changes_and_publishes_nothing(
    start: Start, plant: Plant, topic: str, ask: Callable[..., list[Any]]
) -> None:
    """Though all calls of the instance have the same context, which the model keeps."""
    started = start(LATE, ", model_timeout: 1")
    assert ask(1) == [[1, 1]]
    plant.publish(f"{topic}/in", 2, qos=1)
    assert ask(3, 4) == [[3, 2], [4, 3]]
    given_up = "this call has lasted longer than model_timeout, and its message was given up"
    started.wait_log(f"too late: {[given_up, given_up]}")
    assert ask(5) == [[5, 4]]
    assert started.instance("edge-1")["errors"] == {"timeout": 1}
