"""A model in an ONNX file, by onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyboot_svc.models._model_file import model_file
from pyboot_svc.models._options import Options, shown
from pyboot_svc.models._reading import repeated
from pyboot_svc.models._sources import value_at
from pyboot_svc.topics import Field

try:
    import numpy as np
    import onnxruntime
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"this model needs {error.name}: apt install python3-onnxruntime, "
        "or pip install 'pyboot-svc[onnx]'"
    ) from error

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context

Array = np.ndarray[Any, Any]

_CPU = "CPUExecutionProvider"
# What can be made of JSON, by the names that ONNX has for it.
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
    **{
        f"tensor({kind}{bits})": getattr(np, f"{kind}{bits}")
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
}


# Lower-case, since `edge_mode` names it as a function.
class onnx_model:
    """Runs the model with values of each payload.

    In:  any JSON. Each input of the model is a number or nested lists of them, in the shape that
         the model declares, or one row of it, without the first axis. With `batch:`, messages of
         the same shape are one run where the first axis of all inputs and outputs is dynamic.
    Out: `{NAME: value}` with each output, for one row without the first axis, too; `device`,
         `point` and `ts` of the payload are repeated.

    Options: `file`, relative to the folder of the model path; `inputs: {NAME: where}`, where in the
    payload or topic an input is: a path, as in `meta.x` or `topic[1]`, or a list of paths, whose
    values are a row; without it each is the key of its name, and a payload that is a list is the
    only one. `outputs`: names of those that are wanted (default: all). `providers`: those of
    onnxruntime (default: CPUExecutionProvider).

    Values are cast to the type that the model declares where nothing is lost but digits of a
    fraction; null is NaN. It uses as many threads as `limits.cpus` allows.

    Raises ValueError for a payload that doesn't fit.
    """

    def __init__(self, context: Context) -> None:
        options = Options(context.options)
        file = options.text("file")
        places = options.named_paths("inputs")
        outputs = options.words("outputs", ())
        usable = onnxruntime.get_available_providers()
        providers = options.words("providers", (_CPU,), *usable)
        options.done()
        self._session = _session(model_file(file), providers)
        declared = {one.name: one for one in self._session.get_inputs()}
        _check_names("inputs", places, declared)
        self._inputs = [_Input(one, places.get(name)) for name, one in declared.items()]
        results = {one.name: one for one in self._session.get_outputs()}
        _check_names("outputs", outputs, results)
        self._outputs = list(outputs or results)
        dynamic = [_is_dynamic(results[name]) for name in self._outputs]
        self._takes_many = all(dynamic) and all(one.is_dynamic for one in self._inputs)

    def __call__(self, payload: Any, context: Context) -> Any:
        if not context.topics:
            return self._results([payload], [context.topic])[0]
        return self._results(payload, context.topics)

    def _results(self, payloads: Sequence[Any], topics: Sequence[str]) -> list[dict[str, Any]]:
        rows = [self._rows(*both) for both in zip(payloads, topics, strict=True)]
        results: list[dict[str, Any]] = [{}] * len(rows)
        for places in self._together(rows):
            found = self._run([rows[place] for place in places])
            for place, result in zip(places, found, strict=True):
                results[place] = {**repeated(payloads[place]), **result}
        return results

    def _rows(self, payload: Any, topic: str) -> _Rows:
        levels = topic.split("/")
        if isinstance(payload, list) and len(self._inputs) == 1:
            found = [self._inputs[0].array(payload)]
        else:
            found = [one.array(one.value(payload, levels)) for one in self._inputs]
        arrays = [array for array, _ in found]
        if self._takes_many and len({len(array) for array in arrays}) > 1:
            counts = ", ".join(
                f"{one.name} {len(array)}" for one, array in zip(self._inputs, arrays, strict=True)
            )
            raise ValueError(f"the inputs have different numbers of rows: {counts}")
        return _Rows(arrays, all(is_one for _, is_one in found))

    def _together(self, rows: Sequence[_Rows]) -> list[list[int]]:
        """The places of those that are one run."""
        groups: dict[object, list[int]] = {}
        for place, one in enumerate(rows):
            shapes = tuple(array.shape[1:] for array in one.arrays)
            groups.setdefault(shapes if self._takes_many else place, []).append(place)
        return list(groups.values())

    def _run(self, together: Sequence[_Rows]) -> list[dict[str, Any]]:
        joined = [
            np.concatenate(parts) if len(parts) > 1 else parts[0]
            for parts in zip(*(one.arrays for one in together), strict=True)
        ]
        feed = {one.name: array for one, array in zip(self._inputs, joined, strict=True)}
        found = self._session.run(self._outputs, feed)
        if len(together) == 1:
            return [self._named(found, together[0])]
        if any(len(output) != len(joined[0]) for output in found):
            # Its first axis is not that of the messages.
            return [self._run([one])[0] for one in together]
        results, start = [], 0
        for one in together:
            stop = start + len(one.arrays[0])
            results.append(self._named([output[start:stop] for output in found], one))
            start = stop
        return results

    def _named(self, found: Sequence[Any], rows: _Rows) -> dict[str, Any]:
        return {
            name: _plain(output[0] if rows.is_one and _is_one(output) else output)
            for name, output in zip(self._outputs, found, strict=True)
        }


@dataclass(frozen=True)
class _Rows:
    """What one message has for each input; `is_one`: it came without the first axis."""

    arrays: list[Array]
    is_one: bool


class _Input:
    """As the model declares it, and where its value is."""

    def __init__(self, declared: Any, place: Field | tuple[Field, ...] | None) -> None:
        self.name = declared.name
        self.is_dynamic = _is_dynamic(declared)
        self._place = place
        self._shape = list(declared.shape)
        self._kind = declared.type
        if self._kind not in _DTYPES:
            raise ValueError(f"the model's input {self.name} is a {self._kind}, not made of JSON")

    def value(self, payload: Any, levels: list[str]) -> Any:
        if self._place is None:
            if isinstance(payload, dict) and self.name in payload:
                return payload[self.name]
            raise ValueError(f"{self.name}: the payload has no such key: `inputs` says where it is")
        if isinstance(self._place, tuple):
            return [value_at(field, payload, levels, self.name) for field in self._place]
        return value_at(self._place, payload, levels, self.name)

    def array(self, value: Any) -> tuple[Array, bool]:
        """With all axes, and whether the first one was added."""
        array = self._cast(value)
        wanted = self._shape
        is_one = array.ndim == len(wanted) - 1 and (self.is_dynamic or wanted[0] == 1)
        whole = array[np.newaxis] if is_one else array
        fits = whole.ndim == len(wanted) and all(
            size == own or not isinstance(size, int)
            for size, own in zip(wanted, whole.shape, strict=True)
        )
        if not fits:
            shape, own = _shape(wanted), _shape(array.shape)
            one = f", or {_shape(wanted[1:])} for one row" if len(wanted) > 1 else ""
            raise ValueError(f"{self.name}: must have the shape {shape}{one}, not {own}")
        return whole, is_one

    def _cast(self, value: Any) -> Array:
        dtype = _DTYPES[self._kind]
        try:
            array = np.asarray(value)
            if (array.dtype.kind == "U") != (dtype is np.str_):
                raise TypeError
            with np.errstate(over="raise", invalid="raise"):
                cast = array.astype(dtype)
            if not issubclass(dtype, np.floating) and not np.array_equal(cast, array):
                raise ValueError  # it would be another number
        except (ArithmeticError, TypeError, ValueError):
            kind = "text" if dtype is np.str_ else f"a number that {dtype.__name__} can hold"
            raise ValueError(
                f"{self.name}: must be {kind}, or lists of such with equal lengths, "
                f"not {shown(value)}"
            ) from None
        return cast


def _session(file: Path, providers: Sequence[str]) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = _cpus()
    # Threads that wait for the next message are not to compute meanwhile.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(file), settings, providers=list(providers))
    except Exception as error:  # its classes differ from version to version
        raise ValueError(
            f"{file} can't be loaded: {error}; is it whole, with its weights beside it, and of a "
            f"version that onnxruntime {onnxruntime.__version__} knows?"
        ) from None


def _cpus() -> int:
    """That it may run on; `limits.cpus` also sets the variable, where nothing else confines it."""
    usable = len(os.sched_getaffinity(0))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(int(wanted), usable)) if wanted.isdecimal() else usable


def _check_names(option: str, given: Sequence[str] | Mapping[str, Any], known: Any) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(
            f"options: `{option}`: the model has no {', '.join(unknown)}: it has {', '.join(known)}"
        )


def _is_dynamic(declared: Any) -> bool:
    """Whether its first axis is as long as one likes."""
    if declared.type.startswith("seq"):
        return True
    return bool(declared.shape) and not isinstance(declared.shape[0], int)


def _shape(sizes: Sequence[Any]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in sizes)}]"


def _is_one(output: Any) -> bool:
    return (isinstance(output, list) or np.ndim(output) > 0) and len(output) == 1


def _plain(output: Any) -> Any:
    return output.tolist() if isinstance(output, np.ndarray | np.generic) else output
