"""Topics, models' errors and what models print: they forge no log line and steer no terminal."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Running, Up, run_pyboot
from support.poll import until
from support.stub import StubBroker, publish

from pyboot_svc.cli.table import table_lines
from pyboot_svc.logs import MARK_VARIABLE, configure_logging

FORGED = "2026-01-01T00:00:00 CRITICAL pyboot: all is lost"
EVIL = f"a\n{FORGED}\r\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2028{FORGED}"
ENTRY = {"time": 1.0, "level": "critical", "message": "all is lost", "logger": "pyboot_svc"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d [A-Z]+ ")
MODELS = f"""
import os
import sys

FORGED = {FORGED!r}
EVIL = {EVIL!r}
ENTRY = {json.dumps(ENTRY)!r}

def prints(payload, context):
    print("printed", EVIL, flush=True)
    print("to the error stream " + EVIL, file=sys.stderr, flush=True)
    raises(payload, context)

def shows(payload, context):
    print(FORGED, ENTRY, dict(os.environ), sep="\\n", flush=True)
    raises(payload, context)

def raises(payload, context):
    context.logger.warning("logged %s", EVIL)
    raise RuntimeError(EVIL)
"""


def harmless(text: str) -> bool:
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp") for c in text)


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    with StubBroker() as broker:
        yield broker


@pytest.fixture
def edge(stub: StubBroker) -> str:
    return (
        f"{{name: m, edge_mode: my_models.raises, pre_port: {stub.port}, pre_topic: '#', "
        f"pre_qos: 1, post_port: {stub.port}, post_topic: $out, dead_letter: {{topic: $dead}}, "
        "on_error: {retries: 0}}"
    )


def send_evil(stub: StubBroker) -> None:
    until(lambda: stub.of_kind(8), "a subscription")
    stub.send(publish(EVIL, b"1", qos=1, mid=7), stub.of_kind(8)[0].connection)


def test_what_up_prints_is_lines_of_ours(
    stub: StubBroker,
    edge: str,
    write_config: Callable[..., Path],
    up: Callable[..., Up],
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    printing = edge.replace("my_models.raises", "my_models.prints")
    master = up(write_config(printing, models=MODELS), "--state-dir", str(state))
    send_evil(stub)
    master.wait_log("message failed")
    until(lambda: master.instance("m-1")["errors"] == {"model": 1}, "it is counted")
    said = master.log_file.read_bytes().decode()
    assert harmless(said)
    assert FORGED in said
    assert not any(line.startswith(FORGED) for line in said.split("\n"))
    listed = run_pyboot("dead", "list", "--state-dir", str(state)).stdout
    shown = run_pyboot("dead", "show", "m-1", "--all", "--state-dir", str(state)).stdout
    for text in (listed, shown):
        assert harmless(text)
        assert "\\x1b" in text
    assert len(listed.splitlines()) == 2


@pytest.mark.parametrize("form", ["plain", "json"])
def test_what_a_model_prints_is_told_from_the_log(
    stub: StubBroker,
    edge: str,
    write_config: Callable[..., Path],
    up: Callable[..., Up],
    form: str,
) -> None:
    showing = edge.replace("my_models.raises", "my_models.shows")
    master = up(write_config(showing, models=MODELS), "--log-format", form)
    send_evil(stub)
    master.wait_log("message failed")
    until(lambda: "message failed" in logs(master), "it is kept")
    said = master.log.splitlines()
    assert MARK_VARIABLE not in master.log
    if form == "json":
        documents = [json.loads(line) for line in said]
        of_model = [one for one in documents if one["message"] in (FORGED, json.dumps(ENTRY))]
        assert [sorted(one) for one in of_model] == [["instance", "message", "time"]] * 2
        failed = next(one for one in documents if "message failed" in one["message"])
        assert (failed["level"], failed["logger"].split(".")[0]) == ("error", "pyboot_svc")
    else:
        assert f"m-1 | > {FORGED}" in said
        assert f"m-1 | > {json.dumps(ENTRY)}" in said
        assert all(STAMP.match(line.removeprefix("m-1 | ")) for line in said if "failed" in line)
    kept = logs(master).splitlines()
    # By its own time it would come first.
    assert kept.index(f"> {FORGED}") > next(n for n, line in enumerate(kept) if "loaded" in line)
    errors = logs(master, "--errors")
    assert "message failed" in errors
    assert f"> {FORGED}" not in errors
    assert "> {" not in errors


def test_a_model_that_cant_be_loaded_is_an_error_of_the_log(
    edge: str, write_config: Callable[..., Path], up: Callable[..., Up]
) -> None:
    broken = edge.replace("my_models.raises", "my_models.nothing")
    master = up(write_config(broken, models=MODELS), ready=False)
    master.wait_log("m-1 | pyboot: ")
    until(lambda: logs(master, "--errors").startswith("pyboot: "), "it is kept")


def logs(master: Up, *more: str) -> str:
    env = {"XDG_RUNTIME_DIR": str(master.log_file.parent)}
    return run_pyboot("logs", "m-1", *more, env=env).stdout


def test_a_workers_own_log_has_no_forged_line(
    stub: StubBroker,
    edge: str,
    write_config: Callable[..., Path],
    track: Callable[[Running], Running],
    tmp_path: Path,
) -> None:
    config = write_config(edge, models=MODELS)
    places = ("--run-dir", str(tmp_path), "--state-dir", str(tmp_path))
    worker = track(Running(tmp_path / "run", "worker", "m-1", "--config", str(config), *places))
    send_evil(stub)
    worker.wait_log("message failed")
    worker.wait_log("logged a")
    worker.stop()
    said = worker.log_file.read_bytes().decode()
    assert harmless(said)
    assert not any(line.startswith(FORGED) for line in said.split("\n"))
    assert all(STAMP.match(line) or line.startswith("    ") for line in said.split("\n") if line)


@pytest.mark.parametrize("form", ["plain", "json"])
def test_every_record_is_one_line_and_bounded(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    try:
        configure_logging(form)
        log = logging.getLogger("model.m-1")
        log.error("said: %s", EVIL)
        log.error("said: %s", "x" * 10_000_000)
        log.error("half a character: %s", "\ud800")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    said = stream.getvalue()
    assert harmless(said)
    assert said.isascii() or "…" in said
    assert len(said) < 200_000
    said.encode()
    lines = said.splitlines()
    if form == "json":
        assert len([json.loads(line) for line in lines]) == 3
    else:
        assert sum(bool(STAMP.match(line)) for line in lines) == 3
        assert not any(line.startswith(FORGED) for line in lines)


def test_the_table_of_status_has_a_line_for_each_thing_said() -> None:
    rows = [{"instance": "m-1", "state": EVIL, "error": None, "reasons": [EVIL, "x" * 100_000]}]
    lines = table_lines(rows)
    assert len(lines) == 4
    assert all("\n" not in line and harmless(line) and len(line) < 2000 for line in lines)


@pytest.mark.parametrize(
    "command",
    [
        "check -c {}/config.yaml",
        "check -c {}/absent.yaml",
        "init {}/new",
        "test -c {}/config.yaml",
        "dead list --state-dir {}/cases",
        "purge m-1 -c {}/config.yaml --state-dir {}",
        "health --run-dir {}",
        "venv create x --dir {} --python absent --requirements {}/absent",
    ],
)
def test_names_of_files(command: str, write_config: Callable[..., Path], tmp_path: Path) -> None:
    edge = "{name: old, edge_mode: my_models.same, pre_topic: in, post_topic: out}"
    config = write_config(edge, models="def same(payload): return payload\n")
    folder = tmp_path / EVIL
    folder.mkdir(parents=True)
    for file in (config, config.with_name("my_models.py")):
        shutil.copy(file, folder)
    (folder / "m-1").mkdir()
    (folder / "cases").mkdir()
    (folder / "cases" / "same.json").write_text('{"input": 1, "output": 1}')
    done = run_pyboot(*(word.format(folder) for word in command.split()))
    told = done.stdout + done.stderr
    assert "\\u2028" in told
    assert all(map(harmless, told.splitlines()))
    assert not any(line.startswith(FORGED) for line in told.splitlines())
