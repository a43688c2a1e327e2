"""`pyboot try`: what a model makes of messages, from files or as they arrive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.app import PYBOOT, Running, complaints
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.stub import SUBSCRIBE, StubBroker, publish, suback
from support.workers import Workers

from pyboot_svc.worker.storage.database import connect
from pyboot_svc.worker.storage.writer import DATABASE_NAME

MODELS = """
import ctypes
import os
import threading

def counts(payload, context):
    print("printed by the model")
    context.logger.info("logged by the model")
    context.state["n"] = context.state.get("n", 0) + 1
    if payload == "bad":
        raise KeyError("no such thing")
    if payload == "none":
        return None
    return {"n": context.state["n"], "of": payload, "by": context.options["by"]}

def looks(payload, context):
    return [context.topic, sorted(os.listdir(context.state_dir)), os.environ["PLACE"], os.getcwd()]

def total(payloads):
    return [sum(payloads)] * len(payloads)

def same(payload):
    return payload

def refuses(payload):
    raise ValueError(payload["device"])

def ends(payload):
    if payload == "exit":
        os._exit(0)
    if payload == "kill":
        os.kill(os.getpid(), 9)
    if payload == "fault":
        ctypes.string_at(0)
    return payload

def leaves(payload):
    threading.Thread(target=threading.Event().wait).start()
    return payload

class closes:
    def __call__(self, payload):
        return payload
    def close(self):
        print("closed")
"""
EDGES = [
    "{name: counts, edge_mode: my_models.counts, options: {by: 5}, TOPICS}",
    "{name: looks, edge_mode: my_models.looks, environment: {PLACE: here}, TOPICS}",
    "{name: total, edge_mode: my_models.total, batch: {max_size: 2}, TOPICS}",
    "{name: filled, edge_mode: my_models.same, INPUT, post_topic: 'o/{device}/{topic[1]}'}",
    "{name: refuses, edge_mode: my_models.refuses, TOPICS}",
    "{name: ends, edge_mode: my_models.ends, TOPICS}",
    "{name: leaves, edge_mode: my_models.leaves, TOPICS}",
    "{name: closes, edge_mode: my_models.closes, TOPICS}",
]

Try = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def attempt(write_config: Callable[..., Path], tmp_path: Path) -> Try:
    edges = [
        edge.replace("TOPICS", "INPUT, post_topic: out").replace("INPUT", "pre_topic: in/+")
        for edge in EDGES
    ]
    config = write_config(*edges, models=MODELS)

    def run(*arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
        state = ("--state-dir", str(tmp_path / "state"))
        return subprocess.run(
            [*PYBOOT, "try", *arguments, "-c", str(config), *state],
            input=lines,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_line_for_each_message(attempt: Try) -> None:
    done = attempt("counts", "-", lines='"a"\n"none"\n"bad"\n{\n\n"b"\n')
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        'out {"n":1,"of":"a","by":5}',
        "nothing",
        "failed (model): the model raised KeyError: 'no such thing'",
    ]
    assert "my_models.py" in lines[3]
    assert lines[-2].startswith("failed (not_json): the payload is not JSON: ")
    assert lines[-1] == 'out {"n":3,"of":"b","by":5}'
    assert done.returncode == 1
    assert done.stderr.count("printed by the model") == 4
    assert "logged by the model" in done.stderr


def test_lines_are_tried_as_they_come(attempt: Try, tmp_path: Path) -> None:
    """As `mosquitto_sub | pyboot try NAME -` has them, without an end."""
    command = [*PYBOOT, "try", "counts", "-", "-c", str(tmp_path / "config.yaml")]
    command += ["--state-dir", str(tmp_path / "state")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as tried:
        assert tried.stdin is not None
        assert tried.stdout is not None
        for number in (1, 2):
            tried.stdin.write(f"{number}\n")
            assert tried.stdout.readline() == f'out {{"n":{number},"of":{number},"by":5}}\n'
        tried.stdin.close()
        assert tried.wait(20) == 0


def test_for_programs(attempt: Try, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text('"a"\n"none"\n')
    done = attempt("counts", "--lines", str(file), "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"topic": "out", "result": '{"n":1,"of":"a","by":5}'},
        {"result": None},
    ]
    assert done.returncode == 0
    done = attempt("counts", "-", "--json", lines="{\n")
    assert json.loads(done.stdout)["kind"] == "not_json"


def test_it_has_a_copy_of_its_state_and_changes_nothing(attempt: Try, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "counts-1"
    folder.mkdir(parents=True)
    connection = connect(folder / DATABASE_NAME)
    connection.close()
    before = sorted((file.name, file.read_bytes()) for file in folder.iterdir())
    assert attempt("counts", "-", lines="1").stdout.startswith('out {"n":1')
    assert sorted((file.name, file.read_bytes()) for file in folder.iterdir()) == before
    (tmp_path / "state" / "looks-1").mkdir()
    (tmp_path / "state" / "looks-1" / "weights").write_text("5")
    found = json.loads(attempt("looks", "-", "--topic", "in/7", lines="1").stdout.partition(" ")[2])
    assert found == ["in/7", ["weights"], "here", str(tmp_path)]


def test_of_a_state_that_cannot_all_be_copied_it_has_the_rest(attempt: Try, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "looks-1"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("5")
    os.mkfifo(folder / "pipe\x1b")
    done = attempt("looks", "-", "--topic", "in/7", lines="1")
    assert json.loads(done.stdout.partition(" ")[2])[1] == ["weights"]
    (complaint,) = complaints(done.stderr).splitlines()
    assert complaint == (
        f"pyboot: not all of {folder} can be copied: `{folder}/pipe\\x1b` is a named pipe. The "
        "model starts with what can be."
    )


def test_a_state_that_cannot_be_copied_at_all(attempt: Try, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "looks-1"
    folder.parent.mkdir()
    folder.write_text("no folder")
    done = attempt("looks", "-", "--topic", "in/7", lines="1")
    assert json.loads(done.stdout.partition(" ")[2])[1] == []
    assert f"can be copied: {folder}: Not a directory. " in complaints(done.stderr)


def test_a_model_of_batches_gets_batches(attempt: Try) -> None:
    assert attempt("total", "-", lines="1\n2\n3\n").stdout == "out 3\nout 3\nout 3\n"


def test_it_is_closed(attempt: Try, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"5\n")
    done = attempt("closes", "--payload", str(file))
    assert (done.stdout, complaints(done.stderr), done.returncode) == ("out 5\n", "closed\n", 0)


def test_a_model_saved_twice_within_a_second_is_the_second_one(
    attempt: Try, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python compares times by seconds, and sizes: of a compiled file, it would take the first."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    file = tmp_path / "my_models.py"
    for more in (1, 2):
        file.write_text(f"def total(payloads):\n    return [{more}] * len(payloads)\n")
        os.utime(file, (1e9, 1e9))
        assert attempt("total", "-", lines="5\n").stdout == f"out {more}\n"


def test_threads_that_the_model_leaves_behind_keep_nobody_waiting(attempt: Try) -> None:
    done = attempt("leaves", "-", lines="1\n2\n")
    found = (done.stdout, complaints(done.stderr), done.returncode)
    assert found == ("out 1\nout 2\n", "", 0)


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("exit", 1, "pyboot: the model's process ended with exit code 0 before its work was done"),
        ("kill", 137, "pyboot: the model's process was killed by SIGKILL before its work was done"),
        ("fault", 139, "in ends\n"),
    ],
)
def test_a_model_that_ends_its_process_is_said(
    attempt: Try, how: str, code: int, said: str
) -> None:
    done = attempt("ends", "-", lines=f'"before"\n"{how}"\n"after"\n')
    assert (done.returncode, done.stdout) == (code, 'out "before"\n')
    assert said in done.stderr


HELPED = """
import multiprocessing
import subprocess
from concurrent.futures import ProcessPoolExecutor

def more(number):
    return number + 1

pool = multiprocessing.get_context("fork").Pool(2)
executor = ProcessPoolExecutor(2)
helper = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"], start_new_session=True)

def total(payloads):
    return [[helper.pid, executor.submit(more, pool.map(more, payloads)[0]).result()]]
"""


def test_nothing_that_the_model_has_started_outlives_it(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(HELPED)
    done = attempt("total", "-", lines="5\n")
    pid, found = json.loads(done.stdout.partition(" ")[2])
    assert (found, done.returncode) == (7, 0)
    assert str(pid) not in sessions()


def sessions() -> set[str]:
    """Of all processes."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            found.add(file.read_text().rpartition(")")[2].split()[3])
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("counts",), 64, "try needs a message: --payload FILE"),
        (("counts", "--lines", "absent"), 64, "absent can't be read"),
        (("counts", "-"), 64, "standard input has no non-empty line"),
        (("counts", "-", "--topic", "a/+"), 64, "--topic 'a/+': name one topic, without the"),
        (("counts", "-", "--topic", ""), 64, "--topic '': name one topic, without the wildcards"),
        (("other", "-"), 64, "no model is named 'other'; configured: counts, looks"),
        (
            ("counts", "-", "--payload", "x"),
            64,
            "messages come from a file, standard input (-) or --live: one of them",
        ),
    ],
)
def test_what_is_wrong_is_said(
    attempt: Try, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = attempt(*arguments)
    assert done.returncode == code
    assert said in done.stderr


def test_a_topic_is_filled_in(attempt: Try) -> None:
    done = attempt("filled", "-", "--topic", "in/7", lines='{"device": "a"}\n{}\n')
    assert done.stdout.splitlines() == [
        'o/a/7 {"device":"a"}',
        "failed (not_encodable): post_topic needs {device}, which the result doesn't have",
    ]


HOSTILE = "a\n2026-01-01T00:00:00 CRITICAL pyboot: all is lost\x1b[2J\x9b31m\x7f\u202e\u200b"


def test_no_line_and_no_character_of_a_message_passes_for_ours(attempt: Try) -> None:
    message = json.dumps({"device": HOSTILE})
    refused = attempt("refuses", "-", lines=message).stdout
    first, *rest = refused.removesuffix("\n").split("\n")
    assert first.startswith("failed (model): the model raised ValueError: ")
    assert rest
    assert all(line.startswith("    ") for line in rest)
    filled = attempt("filled", "-", "--topic", "in/7", lines=json.dumps({"device": HOSTILE[-2:]}))
    raw = attempt("refuses", "-", "--json", lines=message)
    assert json.loads(raw.stdout)["error"].count(HOSTILE) == 1
    assert "\\u202e" in filled.stdout.partition(" ")[0]
    for text in (refused, filled.stdout, raw.stdout):
        assert text.replace("\n", "").isprintable()
    assert raw.stdout.isascii()


EDGE_OF = (
    "{{name: m, edge_mode: my_models.{model}, pre_topic: {topic}/in, "
    "post_topic: {topic}/out{more}}}"
)
LIVE = """
import time

def doubled(payload):
    return payload * 2

def total(payloads):
    return [sum(payloads)] * len(payloads)

class ticking:
    def __init__(self):
        self.sum = 0
    def __call__(self, payload):
        self.sum += payload
    def tick(self, context):
        return {"sum": self.sum} if self.sum else None

def slow(payload):
    print("called")
    time.sleep(0.5)
    return payload
"""


@pytest.fixture
def live(
    write_config: Callable[..., Path],
    tmp_path: Path,
    topic: str,
    broker: Broker,
    track: Callable[[Running], Running],
) -> Callable[..., Running]:
    """Starts `pyboot try m --live` and waits until it is subscribed."""

    def start(model: str, *arguments: str, more: str = "", waits: bool = True) -> Running:
        edge = EDGE_OF.format(model=model, topic=topic, more=more)
        config = write_config(edge, models=LIVE)
        state = ("--state-dir", str(tmp_path / "state"))
        # Each with a log of its own.
        folder = tmp_path / f"try-{len(list(tmp_path.glob('try-*')))}"
        trying = Running(folder, "try", "m", "--live", *arguments, "-c", str(config), *state)
        track(trying)
        if waits:
            trying.wait_log("subscribed to")
        return trying

    return start


def printed(trying: Running) -> list[str]:
    """All lines, when it has ended."""
    assert trying.process.stdout is not None
    return trying.process.stdout.read().decode().splitlines()


def test_what_arrives_is_tried_and_published_by_nobody(
    live: Callable[..., Running], plant: Plant, topic: str
) -> None:
    plant.subscribe(f"{topic}/#")
    trying = live("doubled", "-n", "3")
    plant.publish_all(f"{topic}/in", [1, b"{", "a"], 1)
    lines = printed(trying)
    assert lines[0] == f"{topic}/out 2"
    assert lines[1].startswith("failed (not_json)")
    assert lines[-1] == f'{topic}/out "aa"'
    assert trying.process.wait(20) == 1
    assert {name for name, _ in plant.received} == {f"{topic}/in"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_a_signal_ends_it_after_the_call_at_hand(
    number: signal.Signals, live: Callable[..., Running], plant: Plant, topic: str
) -> None:
    trying = live("slow")
    plant.publish_all(f"{topic}/in", [1, 2, 3], 1)
    trying.wait_log("called")
    assert trying.stop(number) == 0
    assert printed(trying)[0] == f"{topic}/out 1"
    assert len(trying.log.split("called")) < 4


def test_an_interrupt_of_all_its_processes_is_one(
    live: Callable[..., Running], plant: Plant, topic: str
) -> None:
    """What is sent to the group is handed on by the parent besides."""
    trying = live("slow")
    plant.publish(f"{topic}/in", 1, 1)
    trying.wait_log("called")
    os.killpg(trying.pid, signal.SIGINT)
    assert printed(trying) == [f"{topic}/out 1"]
    assert trying.process.wait(20) == 0


def test_running_instances_miss_nothing_of_it(
    live: Callable[..., Running],
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
) -> None:
    more = ", instance: 2, pre_qos: 1, post_qos: 1"
    running = workers(
        write_config(EDGE_OF.format(model="doubled", topic=topic, more=more), models=LIVE)
    )
    plant.subscribe(f"{topic}/out")
    trying = live("doubled", "-n", "20", more=more)
    plant.publish_all(f"{topic}/in", list(range(20)), 1)
    doubled = [2 * number for number in range(20)]
    assert printed(trying) == [f"{topic}/out {number}" for number in doubled]
    assert sorted(plant.wait_for(20)) == doubled
    assert [running.instance(f"m-{n}")["brokers"]["pre"]["connects"] for n in (1, 2)] == [1, 1]


def test_ticks_come_and_a_number_of_seconds_ends_it(
    live: Callable[..., Running], plant: Plant, topic: str
) -> None:
    trying = live("ticking", "--seconds", "6", "--json", more=", every: 1s")
    plant.publish(f"{topic}/in", 5)
    lines = [json.loads(line) for line in printed(trying)]
    assert lines[0] == {"result": None}
    assert {"topic": f"{topic}/out", "result": '{"sum":5}'} in lines
    assert lines.count({"result": None}) == 1
    assert trying.process.wait(20) == 0


def test_a_model_of_batches_gets_what_has_arrived(
    live: Callable[..., Running], plant: Plant, topic: str
) -> None:
    trying = live("total", "-n", "4", more=", batch: {max_size: 3}")
    plant.publish_all(f"{topic}/in", [1, 1, 1, 1], 1)
    assert len(printed(trying)) == 4


def test_retained_messages_are_left_out_where_the_model_has_none(
    live: Callable[..., Running], plant: Plant, topic: str
) -> None:
    plant.publish(f"{topic}/in", 1, 1, retain=True)
    try:
        assert printed(live("doubled", "-n", "1")) == [f"{topic}/out 2"]
        trying = live("doubled", "-n", "1", more=", retained: ignore")
        plant.publish(f"{topic}/in", 5, 1)
        assert printed(trying) == [f"{topic}/out 10"]
    finally:
        plant.publish(f"{topic}/in", b"", 1, retain=True)


def test_another_filter(live: Callable[..., Running], plant: Plant, topic: str) -> None:
    trying = live("doubled", "-n", "1", "--topic", f"{topic}/+/other")
    plant.publish(f"{topic}/in", 1)
    plant.publish(f"{topic}/x/other", 2)
    assert printed(trying) == [f"{topic}/out 4"]


def test_it_says_that_nothing_comes(live: Callable[..., Running], topic: str) -> None:
    trying = live("doubled")
    trying.wait_log(f"no message on {topic}/in yet: is it the topic that is published to", 30)
    assert trying.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"subscribe": lambda packet: suback(packet.mid, 0x87)}, "was refused: Not authorized"),
        ({"connack": b"\x20\x03\x00\x87\x00"}, "the broker refused: Not authorized"),
        ({"connect": lambda packet: None}, "not subscribed yet"),
    ],
    ids=["subscription", "connection", "silence"],
)
def test_a_broker_that_lets_nobody_in(
    rule: dict[str, Any], said: str, live: Callable[..., Running]
) -> None:
    with StubBroker(**rule) as stub:
        more = f", pre_port: {stub.port}"
        trying = live("doubled", "--seconds", "5", more=more, waits=False)
        assert trying.process.wait(30) == 69
    assert f"pre broker 127.0.0.1:{stub.port}: " in trying.log
    assert said in trying.log


def test_it_comes_back_when_the_connection_was_lost(
    live: Callable[..., Running], tmp_path: Path, topic: str
) -> None:
    with StubBroker() as stub:
        trying = live("doubled", "-n", "1", more=f", pre_port: {stub.port}")
        stub.hang_up(1)
        until(lambda: len(stub.of_kind(SUBSCRIBE)) == 2, "it is there again")
        stub.send(publish(f"{topic}/in", b"4"), 2)
        assert printed(trying) == [f"{topic}/out 8"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("counts", "-", "-n", "3"), "-n and --seconds go with --live"),
        (("counts", "--live", "-n", "0"), "'0' is not a number of messages"),
        (("counts", "-", "--live"), "standard input (-) or --live: one of them"),
        (("counts", "--live", "--topic", "$share/x/in"), "--topic must not start with $share/"),
        (("counts", "--live", "--topic", "a+"), "+ must be a whole level"),
        (("counts", "--live", "--topic", ""), "--topic must not be empty"),
        (("counts", "--live", "--topic", "a\udcff"), "which MQTT doesn't allow"),
    ],
    ids=["not-live", "zero", "two-sources", "share", "filter", "empty", "no text"],
)
def test_what_is_wrong_about_live_is_said(
    attempt: Try, arguments: tuple[str, ...], said: str
) -> None:
    done = attempt(*arguments)
    assert done.returncode == 64
    assert said in done.stderr
