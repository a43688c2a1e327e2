"""`pyboot try`: what a model makes of messages, without a broker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import PYBOOT, complaints

from pyboot_svc.worker.storage.database import connect
from pyboot_svc.worker.storage.writer import DATABASE_NAME

MODELS = """
import os

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


def test_a_model_of_batches_gets_batches(attempt: Try) -> None:
    assert attempt("total", "-", lines="1\n2\n3\n").stdout == "out 3\nout 3\nout 3\n"


def test_it_is_closed(attempt: Try, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"5\n")
    done = attempt("closes", "--payload", str(file))
    assert (done.stdout, complaints(done.stderr), done.returncode) == ("out 5\n", "closed\n", 0)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("counts",), 64, "try needs a message: --payload FILE"),
        (("counts", "--lines", "absent"), 64, "absent can't be read"),
        (("counts", "-"), 64, "standard input has no non-empty line"),
        (("other", "-"), 64, "no model is named 'other'; configured: counts, looks"),
        (("counts", "-", "--payload", "x"), 64, "not allowed with"),
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
