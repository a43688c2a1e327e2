"""A model that scikit-learn has trained, in a file of joblib's.

Such a file is a pickle: whoever can write it can run any code as the user of the model. Load none
but your own.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyboot_svc.models._model_file import model_file
from pyboot_svc.models._options import Options, shown
from pyboot_svc.models._reading import repeated
from pyboot_svc.models._sources import value_at

try:
    import joblib
    import numpy as np
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"this model needs {error.name}: apt install python3-sklearn, "
        "or pip install 'pyboot-svc[joblib]'"
    ) from error

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context

# What results are called, by the method that gives them.
_RESULTS = {
    "predict": "prediction",
    "predict_proba": "probabilities",
    "decision_function": "decision",
}


# Lower-case, since `edge_mode` names it as a function.
class joblib_model:
    """Gives what an estimator or a pipeline says of each payload's features.

    In:  a key for each feature that the estimator was trained with by name, as from a DataFrame,
         or the features in that order: a list, or the keys that `features` names. With `batch:`,
         all messages are one call.
    Out: `{"prediction": value}`, `{"probabilities": {CLASS: number}}`, `{"decision": number}`, or
         with more than two classes `{"decision": {CLASS: number}}`; `device`, `point` and `ts` of
         the payload are repeated.

    Options: `file`, relative to the folder of the model path; `method`: predict (the default),
    predict_proba or decision_function, or a list of them; `features`: a list of paths in payload or
    topic, as in `meta.x` or `topic[1]`, in the order of the training.

    Raises ValueError for a payload that doesn't fit.
    """

    def __init__(self, context: Context) -> None:
        options = Options(context.options)
        file = options.text("file")
        methods = options.words("method", ("predict",), *_RESULTS)
        self._paths = options.paths("features")
        options.done()
        path = model_file(file)
        estimator = _loaded(path, context.logger)
        self._methods = {_RESULTS[name]: _method(estimator, name, path) for name in methods}
        self._classes = getattr(estimator, "classes_", None)
        self._names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        self._count = getattr(estimator, "n_features_in_", None)
        if self._paths and self._count not in (None, len(self._paths)):
            raise ValueError(
                f"options: `features`: {path} takes {self._count}, not {len(self._paths)}"
            )
        self._table = _table_maker(self._names)

    def __call__(self, payload: Any, context: Context) -> Any:
        if not context.topics:
            return self._results([payload], [context.topic])[0]
        return self._results(payload, context.topics)

    def _results(self, payloads: Sequence[Any], topics: Sequence[str]) -> list[dict[str, Any]]:
        table = self._table([self._row(*both) for both in zip(payloads, topics, strict=True)])
        columns = {
            result: _labelled(method(table), self._classes if result != "prediction" else None)
            for result, method in self._methods.items()
        }
        return [
            {**repeated(payload), **{result: values[place] for result, values in columns.items()}}
            for place, payload in enumerate(payloads)
        ]

    def _row(self, payload: Any, topic: str) -> list[Any]:
        row = self._values(payload, topic)
        if self._count not in (None, len(row)):
            raise ValueError(f"features: there must be {self._count}, not {len(row)}")
        for value in row:
            if isinstance(value, dict | list):
                raise ValueError("features: each must be a number or a text")
        return row

    def _values(self, payload: Any, topic: str) -> list[Any]:
        if self._paths:
            levels = topic.split("/")
            return [value_at(field, payload, levels, "features") for field in self._paths]
        if isinstance(payload, list):
            return payload
        if not self._names:
            raise ValueError(
                "payload: must be a list of the features: the model was trained without names; "
                "`features` says where they are"
            )
        if not isinstance(payload, dict):
            raise ValueError(f"payload: must be an object or a list, not {shown(payload)}")
        missing = [name for name in self._names if name not in payload]
        if missing:
            raise ValueError(f"payload: has no {', '.join(missing)}; `features` says where it is")
        return [payload[name] for name in self._names]


def _loaded(file: Path, log: logging.Logger) -> Any:
    """What is in it; raises ValueError that says what to do."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(file)
        except ModuleNotFoundError as error:
            raise ValueError(f"{file} needs {_module_advice(error.name or str(error))}") from error
        except AttributeError as error:
            raise ValueError(
                f"{file} can't be loaded: {error}; what it is made of must be in a module of the "
                "model path, not in the script that wrote it, and of the same version"
            ) from error
        except Exception as error:  # what a damaged pickle makes of the libraries
            raise ValueError(
                f"{file} can't be loaded: {type(error).__name__}: {error}; is it whole, and "
                "written by joblib.dump? Write or copy it again"
            ) from error
    for warning in {one.category: one.message for one in reversed(caught)}.values():
        log.warning("%s: %s", file.name, _said(warning))
    return estimator


def _module_advice(name: str) -> str:
    top = name.partition(".")[0]
    if importlib.util.find_spec(top) is not None:
        return f"{name}: it was written with another version of {top}; write it with this one"
    if top == "sklearn":
        return "scikit-learn: apt install python3-sklearn, or pip install 'pyboot-svc[joblib]'"
    return f"the module {name}: install it, or put it into a folder of the model path"


def _said(warning: Any) -> str:
    made_with = getattr(warning, "original_sklearn_version", None)
    if made_with is None:
        return str(warning)
    return (
        f"written with scikit-learn {made_with}, loaded with {warning.current_sklearn_version}: "
        "results may differ; write it anew with this version, or install that one"
    )


def _method(estimator: Any, name: str, file: Path) -> Callable[[Any], Any]:
    method = getattr(estimator, name, None)
    if callable(method):
        found: Callable[[Any], Any] = method
        return found
    able = [one for one in _RESULTS if callable(getattr(estimator, one, None))]
    raise ValueError(
        f"options: `method`: what is in {file}, a {type(estimator).__name__}, has no {name}: "
        f"{'it has ' + ', '.join(able) if able else 'dump the estimator itself'}"
    )


def _table_maker(names: list[str]) -> Callable[[list[list[Any]]], Any]:
    """What was trained with a DataFrame is to get one: columns may be chosen by their names."""
    if not names or importlib.util.find_spec("pandas") is None:
        return _matrix
    import pandas

    return lambda rows: pandas.DataFrame(rows, columns=names)


def _matrix(rows: list[list[Any]]) -> Any:
    if any(isinstance(value, str) for row in rows for value in row):
        return np.array(rows, object)
    return np.array(rows, float)


def _labelled(found: Any, classes: Any) -> list[Any]:
    """One for each row: a number, or what is found for each class by its label."""
    if isinstance(found, list):  # of several targets
        columns = [_labelled(*both) for both in zip(found, classes, strict=True)]
        return [list(row) for row in zip(*columns, strict=True)]
    rows: list[Any] = np.asarray(found).tolist()
    if classes is None or np.ndim(found) != 2 or np.shape(found)[1] != len(classes):
        return rows
    labels = [str(label) for label in np.asarray(classes).tolist()]
    return [dict(zip(labels, row, strict=True)) for row in rows]
