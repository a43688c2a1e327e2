"""Models in ONNX files, made by onnx and run by onnxruntime."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pyboot_svc.model import Context, load_model
from pyboot_svc.model.loader import ConstructionFailed, ImportFailed

onnx = pytest.importorskip("onnx", reason="makes the model files; it has no wheel for this Python")
np = pytest.importorskip("numpy")
pytest.importorskip("onnxruntime", reason="it has no wheel for this Python")

FLOAT, INT, BOOL, TEXT = (
    getattr(onnx.TensorProto, name) for name in ("FLOAT", "INT64", "BOOL", "STRING")
)


def write(file: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **save: Any) -> None:
    """`inputs` and `outputs`: name, type and shape of each."""
    weights = onnx.numpy_helper.from_array(np.array([[1], [10]], np.float32), "W")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*node) for node in nodes],
        "graph",
        [onnx.helper.make_tensor_value_info(*one) for one in inputs],
        [onnx.helper.make_tensor_value_info(*one) for one in outputs],
        [weights] if any("W" in node[1] for node in nodes) else [],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save_model(model, file, **save)


def write_sum(file: Path, batch: Any = "N", **save: Any) -> None:
    """`y` is x[0] + 10 · x[1]."""
    node = ("MatMul", ["x", "W"], ["y"])
    write(file, [node], [("x", FLOAT, [batch, 2])], [("y", FLOAT, [batch, 1])], **save)


def write_same(file: Path, kind: int, shape: list[Any]) -> None:
    """`y` is x."""
    write(file, [("Identity", ["x"], ["y"])], [("x", kind, shape)], [("y", kind, shape)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(**options: Any) -> Any:
    given = {"file": "model.onnx", **options}
    context = Context("test-1", Path(), logging.getLogger("model"), given)
    model = load_model("pyboot_svc.models.onnx.onnx_model", [], context)

    def call(payload: Any, topic: str = "plant/a", topics: tuple[str, ...] = ()) -> Any:
        context.topic, context.topics = topic, topics
        return model(payload, context)

    return call


def batch(model: Any, payloads: list[Any]) -> Any:
    return model(payloads, topics=("plant/a",) * len(payloads))


def refused(**options: Any) -> str:
    with pytest.raises(ConstructionFailed) as failed:
        load(**options)
    return str(failed.value).partition("\n")[0]


def test_inputs_are_keys_of_their_names(folder: Path) -> None:
    write_sum(folder / "model.onnx")
    assert load()({"x": [1, 2], "device": "a", "ts": 5}) == {"device": "a", "ts": 5, "y": [21.0]}


def test_a_payload_that_is_a_list_is_the_only_input(folder: Path) -> None:
    write_sum(folder / "model.onnx")
    assert load()([1, 2]) == {"y": [21.0]}


def test_several_rows_in_one_message(folder: Path) -> None:
    write_sum(folder / "model.onnx")
    assert load()([[1, 2], [3, 4]]) == {"y": [[21.0], [43.0]]}
    assert load()([[1, 2]]) == {"y": [[21.0]]}


def test_features_by_paths_in_payload_and_topic(folder: Path) -> None:
    write_sum(folder / "model.onnx")
    model = load(inputs={"x": ["m.a", "b"]})
    assert model({"m": {"a": 1}, "b": 2}) == {"y": [21.0]}
    with pytest.raises(ValueError, match=r"x: the payload has no m\.a"):
        model({"b": 2})
    assert load(inputs={"x": "m.x"})({"m": {"x": [1, 2]}}) == {"y": [21.0]}
    write_same(folder / "model.onnx", TEXT, ["N"])
    assert load(inputs={"x": "topic[1]"})({}, "plant/7") == {"y": "7"}


def test_what_is_not_there(folder: Path) -> None:
    write_sum(folder / "model.onnx")
    with pytest.raises(ValueError, match="x: the payload has no such key: `inputs` says where"):
        load()({"y": [1, 2]})
    with pytest.raises(ValueError, match="x: the payload has no such key"):
        load()(5)


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (FLOAT, 1, 1.0),
        (FLOAT, True, 1.0),
        (FLOAT, 2**70, float(2**70)),
        (INT, 1.0, 1),
        (BOOL, 1, True),
        (BOOL, False, False),
        (TEXT, "on", "on"),
    ],
)
def test_values_are_cast_to_what_the_model_declares(
    folder: Path, kind: int, value: Any, result: Any
) -> None:
    write_same(folder / "model.onnx", kind, ["N"])
    found = load()({"x": value})["y"]
    assert found == result
    assert type(found) is type(result)


def test_null_is_nan(folder: Path) -> None:
    write_same(folder / "model.onnx", FLOAT, ["N", 2])
    [nan, two] = load()({"x": [None, 2]})["y"]
    assert nan != nan
    assert two == 2.0


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (FLOAT, "1.5", "'1.5'"),
        (FLOAT, {"a": 1}, "an object"),
        (FLOAT, [[1], [1, 2]], "a list"),
        (FLOAT, 1e300, "1e+300"),
        (INT, 1.5, "1.5"),
        (INT, None, "null"),
        (INT, 2**70, str(2**70)),
        (INT, float("nan"), "nan"),
        (BOOL, 2, "2"),
        (BOOL, None, "null"),
        (TEXT, 1, "1"),
    ],
)
def test_values_that_would_become_others_are_refused(
    folder: Path, kind: int, value: Any, shown: str
) -> None:
    write_same(folder / "model.onnx", kind, ["N"])
    with pytest.raises(ValueError, match=r"x: must be (text|a number that .* can hold)") as failed:
        load()({"x": value})
    assert str(failed.value).endswith(f"not {shown}")


@pytest.mark.parametrize("value", [[1, 2, 3], 1, [[[1, 2]]], [[1], [2]]])
def test_a_shape_that_does_not_fit(folder: Path, value: Any) -> None:
    write_sum(folder / "model.onnx")
    with pytest.raises(ValueError, match=r"x: must have the shape \[N, 2\], or \[2\] for one row"):
        load()({"x": value})


def test_a_batch_is_one_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sum(folder / "model.onnx")
    model = load()
    runs = counted(monkeypatch)
    payloads = [{"x": [1, 2], "device": "a"}, {"x": [[3, 4], [5, 6]]}, {"x": [7, 8]}]
    assert batch(model, payloads) == [
        {"device": "a", "y": [21.0]},
        {"y": [[43.0], [65.0]]},
        {"y": [87.0]},
    ]
    assert runs == [4]


def test_of_a_batch_one_run_for_each_shape(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_same(folder / "model.onnx", FLOAT, ["N", "length"])
    model = load()
    runs = counted(monkeypatch)
    values = [[1.0], [1.0, 2.0], [3.0]]
    assert batch(model, [{"x": value} for value in values]) == [{"y": value} for value in values]
    assert runs == [2, 1]


def test_a_model_of_one_row_runs_for_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sum(folder / "model.onnx", 1)
    model = load()
    runs = counted(monkeypatch)
    assert batch(model, [[1, 2], [[3, 4]]]) == [{"y": [21.0]}, {"y": [[43.0]]}]
    assert runs == [1, 1]
    with pytest.raises(ValueError, match=r"must have the shape \[1, 2\]"):
        model([[1, 2], [3, 4]])


def test_an_output_whose_first_axis_is_another_one(folder: Path) -> None:
    node = ("Transpose", ["x"], ["y"])
    write(folder / "model.onnx", [node], [("x", FLOAT, ["N", 2])], [("y", FLOAT, ["M", "N"])])
    assert batch(load(), [[1, 2], [3, 4], [5, 6]]) == [
        {"y": [[1.0], [2.0]]},
        {"y": [[3.0], [4.0]]},
        {"y": [[5.0], [6.0]]},
    ]


def test_several_inputs_and_chosen_outputs(folder: Path) -> None:
    nodes = [("Add", ["a", "b"], ["sum"]), ("Mul", ["a", "b"], ["product"])]
    inputs = [(name, FLOAT, ["N"]) for name in ("a", "b")]
    outputs = [(name, FLOAT, ["N"]) for name in ("sum", "product")]
    write(folder / "model.onnx", nodes, inputs, outputs)
    assert load()({"a": 2, "b": 3}) == {"sum": 5.0, "product": 6.0}
    assert load(outputs=["product"])({"a": 2, "b": 3}) == {"product": 6.0}
    assert load(outputs="sum")({"a": 2, "b": 3}) == {"sum": 5.0}
    with pytest.raises(ValueError, match="the inputs have different numbers of rows: a 2, b 1"):
        load()({"a": [2, 3], "b": 3})


def test_an_input_without_axes(folder: Path) -> None:
    write_same(folder / "model.onnx", FLOAT, [])
    assert load()({"x": 2}) == {"y": 2.0}
    assert batch(load(), [{"x": 2}, {"x": 3}]) == [{"y": 2.0}, {"y": 3.0}]


def test_names_that_the_model_does_not_have(folder: Path) -> None:
    write_sum(folder / "model.onnx")
    assert "`inputs`: the model has no z: it has x" in refused(inputs={"z": "a"})
    assert "`outputs`: the model has no z: it has y" in refused(outputs=["z"])
    assert "`providers` must be one or a list of" in refused(providers=["CUDA"])
    assert load(providers="CPUExecutionProvider")([1, 2]) == {"y": [21.0]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"file": None}, "`file` is missing"),
        ({"file": 5}, "`file` must be text, not 5"),
        ({"inputs": ["x"]}, "`inputs` must be a mapping of names to keys"),
        ({"inputs": {"x": "a b"}}, "`inputs` must be a mapping of names to keys"),
        ({"inputs": {"x": []}}, "`inputs` must be a mapping of names to keys"),
        ({"outputs": [5]}, "`outputs` must be a list of names"),
        ({"input": {}}, "unknown option `input` (did you mean `inputs`?)"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
def test_options_that_are_wrong(folder: Path, options: dict[str, Any], said: str) -> None:
    assert said in refused(**options)


def test_a_file_that_is_missing_or_damaged_or_can_not_be_read(folder: Path) -> None:
    file = folder / "model.onnx"
    assert f"`file`: {file}: there is no such file: put it there, or give" in refused()
    assert f"`file`: {folder}: is a folder: name the file in it" in refused(file=".")
    assert "/x: can't be read: Not a directory" in refused(file=f"{__file__}/x")
    write_sum(file)
    file.write_bytes(file.read_bytes()[:40])
    said = refused()
    assert f"{file} can't be loaded: " in said
    assert "is it whole, with its weights beside it" in said


def test_weights_beside_the_file(folder: Path) -> None:
    write_sum(folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (folder / "w.bin").exists()
    assert load()([1, 2]) == {"y": [21.0]}
    (folder / "w.bin").unlink()
    assert "with its weights beside it" in refused()


def test_an_input_that_json_can_not_say(folder: Path) -> None:
    write_same(folder / "model.onnx", onnx.TensorProto.BFLOAT16, ["N"])
    assert "the model's input x is a tensor(bfloat16), not made of JSON" in refused()


def test_a_model_runs_in_no_more_threads_than_it_has_cpus(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    write_sum(folder / "model.onnx")
    asked: list[int] = []
    session = onnxruntime.InferenceSession

    def observed(file: str, settings: Any, **more: Any) -> Any:
        asked.append(settings.intra_op_num_threads)
        return session(file, settings, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", observed)
    usable = len(os.sched_getaffinity(0))
    for variable in ("", "1", "0", str(usable + 5)):
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
        load()
    assert asked == [usable, 1, 1, usable]


def test_without_onnxruntime_it_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyboot_svc.models.onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    context = Context("test-1", Path(), logging.getLogger("model"))
    with pytest.raises(ImportFailed, match=r"pip install 'pyboot-svc\[onnx\]'") as failed:
        load_model("pyboot_svc.models.onnx.onnx_model", [], context)
    assert isinstance(failed.value.__cause__, ModuleNotFoundError)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each run from now on."""
    import onnxruntime

    rows: list[int] = []
    run = onnxruntime.InferenceSession.run

    def observed(session: Any, names: Any, feed: dict[str, Any], *more: Any) -> Any:
        rows.append(len(next(iter(feed.values()))))
        return run(session, names, feed, *more)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", observed)
    return rows
