"""Estimators of scikit-learn in files of joblib's."""

from __future__ import annotations

import json
import logging
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from pyboot_svc.model import Context, load_model
from pyboot_svc.model.codec import codec_named
from pyboot_svc.model.loader import ConstructionFailed, ImportFailed

np = pytest.importorskip("numpy")
joblib = pytest.importorskip("joblib", reason="it has no wheel for this Python")
sklearn = pytest.importorskip("sklearn", reason="it has no wheel for this Python")
from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.ensemble import IsolationForest, RandomForestClassifier  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

ROWS = [[0.0, 0.0], [1.0, 1.0], [9.0, 8.0], [10.0, 9.0]]
STATES = ["good", "good", "worn", "worn"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(**options: Any) -> Any:
    given = {"file": "model.joblib", **options}
    context = Context("test-1", Path(), logging.getLogger("model"), given)
    model = load_model("pyboot_svc.models.joblib.joblib_model", [], context)

    def call(payload: Any, topic: str = "plant/a", topics: tuple[str, ...] = ()) -> Any:
        context.topic, context.topics = topic, topics
        return model(payload, context)

    return call


def refused(**options: Any) -> str:
    with pytest.raises(ConstructionFailed) as failed:
        load(**options)
    return str(failed.value).partition("\n")[0]


def classifier(labels: list[Any], rows: Any = None) -> Any:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    return pipeline.fit(ROWS if rows is None else rows, labels)


def dump(estimator: Any) -> None:
    joblib.dump(estimator, "model.joblib")


def test_a_prediction(folder: Path) -> None:
    dump(classifier(STATES))
    model = load()
    assert model([10, 10]) == {"prediction": "worn"}
    assert load(features=["a", "m.b"])({"a": 0, "m": {"b": 1}, "device": "p", "ts": 5}) == {
        "device": "p",
        "ts": 5,
        "prediction": "good",
    }
    assert load(features=["a", "topic[1]"])({"a": 0}, "plant/1") == {"prediction": "good"}


def test_probabilities_by_the_labels_of_the_classes(folder: Path) -> None:
    dump(classifier(STATES))
    found = load(method=["predict", "predict_proba", "decision_function"])([10, 10])
    assert list(found) == ["prediction", "probabilities", "decision"]
    assert list(found["probabilities"]) == ["good", "worn"]
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["decision"] > 0
    dump(classifier([1, 1, 2, 3]))
    found = load(method=["predict", "decision_function"])([10, 10])
    assert type(found["prediction"]) is int
    assert list(found["decision"]) == ["1", "2", "3"]
    json.loads(codec_named("json").encode(found))


def test_a_regression(folder: Path) -> None:
    dump(LinearRegression().fit(ROWS, [0.0, 2.0, 17.0, 19.0]))
    assert load()([2, 2]) == {"prediction": pytest.approx(4.0)}
    dump(LinearRegression().fit(ROWS, ROWS))
    assert load()([2, 2]) == {"prediction": pytest.approx([2.0, 2.0])}


def test_several_targets(folder: Path) -> None:
    forest = RandomForestClassifier(n_estimators=2, random_state=0)
    dump(forest.fit(ROWS, [["good", "a"], ["good", "b"], ["worn", "a"], ["worn", "b"]]))
    found = load(method=["predict", "predict_proba"])([0, 0])
    assert len(found["prediction"]) == 2
    assert [list(one) for one in found["probabilities"]] == [["good", "worn"], ["a", "b"]]


def test_one_without_classes(folder: Path) -> None:
    forest = IsolationForest(n_estimators=5, random_state=0)
    dump(forest.fit(ROWS))
    found = load(method=["predict", "decision_function"])([500, 500])
    assert found["prediction"] == -1
    assert found["decision"] < 0


def test_a_batch_is_one_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump(classifier(STATES))
    model = load()
    calls: list[int] = []
    predict = LogisticRegression.predict

    def observed(estimator: Any, rows: Any) -> Any:
        calls.append(len(rows))
        return predict(estimator, rows)

    monkeypatch.setattr(LogisticRegression, "predict", observed)
    assert model([[0, 0], [10, 10]], topics=("a", "b")) == [
        {"prediction": "good"},
        {"prediction": "worn"},
    ]
    assert calls == [2]


def test_features_by_the_names_of_the_training(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    dump(classifier(STATES, pandas.DataFrame(ROWS, columns=["v (mm/s)", "t"])))
    model = load()
    assert model({"t": 10, "v (mm/s)": 10}) == {"prediction": "worn"}
    assert model([10, 10]) == {"prediction": "worn"}
    assert load(features=["v", "t"])({"t": 10, "v": 10}) == {"prediction": "worn"}
    with pytest.raises(ValueError, match=r"payload: has no v \(mm/s\); `features` says where"):
        model({"t": 10})
    with pytest.raises(ValueError, match="payload: must be an object or a list, not 5"):
        model(5)


def test_columns_of_text_and_values_that_are_missing(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), (SimpleImputer(), ["value"]))
    table = pandas.DataFrame({"kind": ["a", "a", "b", "b"], "value": [0.0, 1.0, 9.0, None]})
    dump(make_pipeline(columns, LogisticRegression()).fit(table, STATES))
    assert load()({"kind": "b", "value": 9}) == {"prediction": "worn"}
    assert load()({"kind": "b", "value": None}) == {"prediction": "worn"}


def test_without_names_null_is_nan(folder: Path) -> None:
    dump(make_pipeline(SimpleImputer(), LinearRegression()).fit(ROWS, [row[1] for row in ROWS]))
    assert load()([0, None]) == {"prediction": pytest.approx(4.5)}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ([1], "there must be 2, not 1"),
        ([1, [2]], "each must be a number or a text"),
        ([1, {}], "each must be a number or a text"),
        ({"a": 1}, "payload: must be a list of the features: the model was trained without names"),
        (5, "payload: must be a list of the features"),
        ([1, "x"], "could not convert string to float"),
    ],
    ids=["few", "list", "object", "keys", "number", "text"],
)
def test_payloads_that_do_not_fit(folder: Path, payload: Any, said: str) -> None:
    dump(classifier(STATES))
    with pytest.raises(ValueError, match=said):
        load()(payload)


def test_options_that_do_not_fit(folder: Path) -> None:
    dump(LinearRegression().fit(ROWS, [0, 1, 2, 3]))
    assert "`method`: what is in" in (said := refused(method="predict_proba"))
    assert said.endswith("a LinearRegression, has no predict_proba: it has predict")
    assert "`method` must be one or a list of predict, predict_proba" in refused(method="score")
    assert f"`features`: {folder}/model.joblib takes 2, not 1" in refused(features=["a"])
    assert "`features` must be a list of keys" in refused(features="a")
    dump({"model": 1})
    assert refused().endswith("a dict, has no predict: dump the estimator itself")


def test_a_file_that_is_missing_or_damaged(folder: Path) -> None:
    file = folder / "model.joblib"
    assert f"`file`: {file}: there is no such file: put it there" in refused()
    dump(classifier(STATES))
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no pickle"):
        file.write_bytes(damaged)
        said = refused()
        assert f"{file} can't be loaded: " in said
        assert "Write or copy it again" in said


def test_what_it_is_made_of_is_not_here(folder: Path) -> None:
    file = folder / "model.joblib"
    file.write_bytes(b"cabsent_module\nThing\n.")
    assert "needs the module absent_module: install it, or put it into a folder" in refused()
    file.write_bytes(b"cnumpy.no_such\nThing\n.")
    assert "it was written with another version of numpy" in refused()
    file.write_bytes(b"c__main__\nNoSuchThing\n.")
    assert "must be in a module of the model path, not in the script that wrote it" in refused()


def test_without_scikit_learn_it_says_what_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "model.joblib").write_bytes(b"csklearn.absent\nThing\n.")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "apt install python3-sklearn, or pip install 'pyboot-svc[joblib]'" in refused()
    monkeypatch.delitem(sys.modules, "pyboot_svc.models.joblib", raising=False)
    monkeypatch.setitem(sys.modules, "joblib", None)
    context = Context("test-1", Path(), logging.getLogger("model"))
    with pytest.raises(ImportFailed, match=r"pip install 'pyboot-svc\[joblib\]'") as failed:
        load_model("pyboot_svc.models.joblib.joblib_model", [], context)
    assert isinstance(failed.value.__cause__, ModuleNotFoundError)


def test_another_version_of_scikit_learn_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Each step of the pipeline has its own note of the version.
    data = pickle.dumps(classifier(STATES), protocol=0)
    now = sklearn.__version__
    assert data.count(now.encode()) >= 1
    Path("model.joblib").write_bytes(data.replace(f"V{now}\n".encode(), b"V1.3.0\n"))
    model = load()
    assert model([10, 10]) == {"prediction": "worn"}
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == (
        f"model.joblib: written with scikit-learn 1.3.0, loaded with {now}: results may differ; "
        "write it anew with this version, or install that one"
    )
