"""`pyboot test`: golden cases beside a model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import run_pyboot

MODELS = """
import json
import os

def several(payload, context):
    context.publish({"a": 1}, "x")
    return {"b": 2}

def mean(payload, context):
    last = context.state.setdefault("last", [])
    if payload is None:
        return None
    last.append(payload["t"])
    return {"mean": sum(last) / len(last), "of": payload["device"]}

def other(payload):
    return payload

def raw(payload):
    return payload.upper() + b"\\xff"

def loads(payload):
    return json.loads(payload)

def ends(payload):
    os._exit(0)

class Ticks:
    def __init__(self):
        self.seen = []
    def __call__(self, payload):
        self.seen.append(payload)
    def tick(self, context):
        context.publish({"seen": self.seen})
        if not self.seen:
            raise ValueError("nothing seen")

class Batches(Ticks):
    def __call__(self, payloads):
        return [len(payloads)] * len(payloads)
"""
MEAN = "{name: mean, edge_mode: my_models.mean, pre_topic: in/+, post_topic: 'out/{of}/{topic[1]}'}"
OTHER = "{name: other, edge_mode: my_models.other, pre_topic: in, post_topic: out}"

RAW = "{name: raw, edge_mode: my_models.raw, codec: raw, pre_topic: in, post_topic: out}"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(write_config: Callable[..., Path], tmp_path: Path) -> Run:
    """Writes these cases, by name, and runs all of them."""

    def with_cases(
        cases: dict[str, Any], edges: tuple[str, ...] = (MEAN,), arguments: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "cases"
        folder.mkdir(exist_ok=True)
        for name, case in cases.items():
            text = case if isinstance(case, str) else json.dumps(case)
            (folder / f"{name}.json").write_text(text)
        return run_pyboot("test", "-c", str(write_config(*edges, models=MODELS)), *arguments)

    return with_cases


def message(t: float, device: str = "a") -> dict[str, Any]:
    return {"t": t, "device": device}


GOOD = {
    "one": {"input": message(1.5), "output": {"mean": 1.5, "of": "a"}},
    "row": [
        {"input": message(1), "topic": "in/7", "output": {"mean": 1.0, "of": "a"}},
        {
            "input": message(2),
            "topic": "in/7",
            "output": {"mean": 1.49, "of": "a"},
            "output_topic": "out/a/7",
            "tolerance": 0.01,
        },
        {"input": None, "output": None},
        {"input": {}, "error": "KeyError"},
        {"input": message(3, "b/c"), "error": "must be one level of a topic"},
    ],
}


def test_cases_that_pass(run: Run, tmp_path: Path) -> None:
    done = run(GOOD)
    assert done.stdout.splitlines() == [
        f"ok  {tmp_path}/cases/one.json",
        f"ok  {tmp_path}/cases/row.json",
        "2 of 2 cases passed",
    ], done.stderr
    assert done.returncode == 0


def test_a_model_that_ends_the_process_passes_nothing(run: Run) -> None:
    edge = "{name: ends, edge_mode: my_models.ends, pre_topic: in, post_topic: out}"
    done = run({"one": {"input": 1, "output": 1}}, (edge,))
    assert (done.returncode, done.stdout) == (1, "")
    assert "ended with exit code 0 before its work was done, as os._exit" in done.stderr


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (
            {"input": message(1.5), "output": {"mean": 1.4, "of": "a"}},
            ['output["mean"] is 1.5, not 1.4'],
        ),
        (
            {"input": message(1), "output": {"mean": 1, "more": 1}},
            ['output["more"] is missing', 'output["of"] is too much: "a"'],
        ),
        ({"input": message(1), "output": None}, ['{"mean":1.0,"of":"a"}, not null']),
        ({"input": None, "output": 5}, ["nothing, not 5"]),
        ({"input": message(1), "error": "x"}, ['no error, but {"mean":1.0,"of":"a"}']),
        ({"input": {}, "error": "ValueError"}, ["the error is", "without 'ValueError'"]),
        ({"input": {}, "output": 1}, ["failed: the model raised KeyError: 't'"]),
        (
            {"input": message(1), "output": {"mean": 1.0, "of": "a"}, "output_topic": "o"},
            ["the topic is out/a/x, not o"],
        ),
        (
            [{"input": None, "output": None}, {"input": message(1), "output": [1]}],
            ['message 2: output is {"mean": 1.0, "of": "a"}, not [1]'],
        ),
    ],
)
def test_cases_that_fail(run: Run, tmp_path: Path, case: Any, says: list[str]) -> None:
    done = run({"bad": case, "one": GOOD["one"]})
    assert done.returncode == 1
    assert f"FAILED  {tmp_path}/cases/bad.json" in done.stdout
    assert done.stdout.endswith("1 of 2 cases passed\n")
    for text in says:
        assert text in done.stdout


SEVERAL = "{name: several, edge_mode: my_models.several, pre_topic: in, post_topic: out}"
BOTH: list[dict[str, Any]] = [{"output": {"a": 1}, "topic": "x"}, {"output": {"b": 2}}]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (BOTH, "1 of 1 cases passed"),
        (BOTH[:1], '{"a":1}, {"b":2}, not {"a": 1}'),
        ([], '{"a":1}, {"b":2}, not null'),
        (BOTH[::-1], 'outputs[0]["a"] is too much: 1'),
        ([{**BOTH[0], "topic": "y"}, BOTH[1]], "the topic of outputs[0] is x, not y"),
        ([BOTH[0], {**BOTH[1], "topic": "out"}], "1 of 1 cases passed"),
    ],
)
def test_several_outputs(run: Run, outputs: list[Any], says: str) -> None:
    assert says in run({"c": {"input": 1, "outputs": outputs}}, (SEVERAL,)).stdout


def test_one_file_alone(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "cases" / "one.json")
    done = run({**GOOD, "bad": {"input": 1, "output": 2}}, arguments=(file,))
    assert (done.stdout, done.returncode) == (f"ok  {file}\n1 of 1 cases passed\n", 0)


def test_a_file_goes_by_any_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("cases")
    for name in ("cases/../cases/one.json", "link/one.json"):
        done = run({"one": "\ufeff" + json.dumps(GOOD["one"])}, arguments=(str(tmp_path / name),))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", ["NaN", "1" + "0" * 400], ids=["nan", "beyond floats"])
def test_numbers_of_any_kind_are_compared(run: Run, number: str) -> None:
    edge = OTHER.replace("}", ", nan: keep}")
    same = f'{{"input": {number}, "output": {number}, "tolerance": 0.1}}'
    done = run({"c": same}, (edge,))
    assert done.returncode == 0, done.stdout + done.stderr
    done = run({"c": f'{{"input": {number}, "output": 1.5, "tolerance": 0.1}}'}, (edge,))
    assert (done.returncode, "not 1.5" in done.stdout) == (1, True), done.stderr


def test_where_several_models_are_a_case_names_its_own(run: Run) -> None:
    case = {"input": 5, "output": 5}
    done = run({"c": {**case, "model": "other"}}, (MEAN, OTHER))
    assert done.returncode == 0, done.stderr
    done = run({"c": case}, (MEAN, OTHER))
    assert done.returncode == 64
    assert "`model` must say which one it is for; beside it: mean, other" in done.stderr


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("{", "Expecting property name"),
        ([], "must be an object such as"),
        ([1], "must be an object such as"),
        ({"input": 1}, "each needs `input` (or `tick`), and one of `output`, `outputs`, `error`"),
        ({"input": 1, "tick": True, "output": 1}, "each needs `input` (or `tick`), and one of"),
        ({"tick": 5, "output": 1}, "`tick` must be true"),
        ({"output": 1}, "each needs `input`"),
        ({"input": 1, "output": 1, "error": "x"}, "each needs `input`"),
        ({"input": 1, "output": 1, "outputs": []}, "each needs `input` (or `tick`), and one of"),
        ({"input": 1, "output": 1, "result": 1}, "unknown key 'result'"),
        ({"input": 1, "outputs": 1}, "`outputs` must be a list"),
        ({"input": 1, "outputs": [1]}, 'each of `outputs` must be {"output": …}'),
        ({"input": 1, "output": 1, "tolerance": "x"}, "`tolerance` must be a number from 0 on"),
        ({"input": 1, "output": 1, "tolerance": -1}, "`tolerance` must be a number from 0 on"),
        ({"input": 1, "output": 1, "tolerance": True}, "`tolerance` must be a number from 0 on"),
        ({"input": 1, "output": 1, "tolerance": float("nan")}, "must be a number from 0 on"),
        ({"input": 1, "output": 1, "model": "no"}, "no model is named 'no'"),
        ({"input": 1, "output": 1, "model": ["mean"]}, "`model` must be a text, not ['mean']"),
        ({"input": 1, "output": 1, "topic": 5}, "`topic` must be a text, not 5"),
        ({"input": 1, "output": 1, "topic": "in/+"}, "must be one topic, without + and #"),
        ({"input": 1, "output": 1, "output_topic": 5}, "`output_topic` must be a text"),
        ({"input": 1, "output": None, "output_topic": "x"}, "`output_topic` goes with `output`"),
        ({"input": 1, "outputs": [], "output_topic": "x"}, "`output_topic` goes with `output`"),
        ({"input": 1, "outputs": [{"output": 1, "topic": 5}]}, "`topic` must be a text"),
        ({"input": 1, "error": 5}, "`error` must be a text, not 5"),
        ('{"output": 1, "input": ' + "[" * 100_000, "is not JSON: maximum recursion depth"),
        (
            [{"input": 1, "output": 1, "model": "a"}, {"input": 1, "output": 1, "model": "b"}],
            "its messages are for one model, not for 2",
        ),
    ],
)
def test_what_is_no_case(run: Run, case: Any, says: str) -> None:
    done = run({"c": case})
    assert done.returncode == 64
    assert says in done.stderr


def test_a_result_that_is_no_json_is_text(run: Run) -> None:
    done = run(
        {"good": {"input": "a", "output": "A\\xff"}, "bad": {"input": 1, "output": 1}}, (RAW,)
    )
    assert 'output is "1\\\\xff", not 1' in done.stdout, done.stderr
    assert done.stdout.endswith("1 of 2 cases passed\n")


@pytest.mark.parametrize(
    "options",
    [
        "codec: msgpack",
        "codec: cbor, compression: gzip",
        "codec: {in: json, out: msgpack}, compression: {in: zstd, out: zlib}",
        "codec: {in: cbor, out: text}",
    ],
)
def test_inputs_and_outputs_are_in_the_models_formats(run: Run, options: str) -> None:
    edge = OTHER.replace("}", f", {options}}}")
    value: Any = "21.5 °C" if "text" in options else {"t": [1, 2.5, None], "é": True}
    done = run(
        {"good": {"input": value, "output": value}, "bad": {"input": "1", "output": 2}}, (edge,)
    )
    assert "output is " in done.stdout, done.stderr
    assert done.stdout.endswith("1 of 2 cases passed\n")


def test_an_input_that_is_csv(run: Run) -> None:
    edge = OTHER.replace("}", ", codec: {in: csv, out: json}}")
    done = run({"c": {"input": [["a", 1], ["b", 2]], "output": [["a", 1], ["b", 2]]}}, (edge,))
    assert done.stdout.endswith("1 of 1 cases passed\n"), done.stderr


def test_what_a_format_has_and_json_has_not_is_shown(run: Run) -> None:
    edge = "{name: raw, edge_mode: my_models.raw, codec: {in: raw, out: msgpack}, TOPICS}"
    edge = edge.replace("TOPICS", "pre_topic: in, post_topic: out")
    done = run({"c": {"input": "a", "output": "A"}}, (edge,))
    assert r'''output is "b'A\\xff'", not "A"''' in done.stdout, done.stderr


def test_an_input_that_the_format_can_not_be(run: Run, tmp_path: Path) -> None:
    done = run({"c": {"input": [1], "output": 1}}, (OTHER.replace("}", ", codec: text}"),))
    assert done.returncode == 64
    assert f"{tmp_path}/cases/c.json: `codec: text` takes text or a number, not list" in done.stderr


TICKS = "{name: t, edge_mode: my_models.Ticks, every: 1h, pre_topic: in, post_topic: out}"
ROW = [
    {"tick": True, "error": "nothing seen"},
    {"input": 1, "output": None},
    {"input": 2, "output": None},
    {"tick": True, "output": {"seen": [1, 2]}, "output_topic": "out"},
]


def test_ticks_among_the_messages(run: Run) -> None:
    done = run({"c": ROW}, (TICKS,))
    assert done.stdout.endswith("1 of 1 cases passed\n"), done.stdout + done.stderr


def test_ticks_between_batches(run: Run) -> None:
    edge = TICKS.replace("Ticks", "Batches").replace("}", ", batch: {max_size: 2}}")
    steps = [{"input": 0, "output": count} for count in (2, 2, 1)]
    done = run({"c": [*steps, ROW[0], *steps]}, (edge,))
    assert done.stdout.endswith("1 of 1 cases passed\n"), done.stdout + done.stderr


def test_a_tick_of_a_model_without_one(run: Run) -> None:
    done = run({"c": {"tick": True, "output": None}}, (OTHER,))
    assert done.returncode == 64
    assert "`tick` needs a model with a method `tick(context)`" in done.stderr


def test_without_cases(run: Run, tmp_path: Path) -> None:
    done = run({})
    assert done.returncode == 64
    assert f"there are no cases: no *.json in {tmp_path}/cases" in done.stderr
