"""Golden cases of a model: what it is given, and what has to come out of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyboot_svc.bench.payloads import shown
from pyboot_svc.bench.trial import Tried
from pyboot_svc.errors import UsageError
from pyboot_svc.topics import is_one
from pyboot_svc.worker.messages import topic_of

_KEYS = {
    *("model", "input", "tick", "topic", "output", "output_topic", "outputs", "error"),
    "tolerance",
}
# One of these says what the model is given.
_BEGINNINGS = ("input", "tick")
# One of these says what has to come of it.
_ENDS = ("output", "outputs", "error")
_TEXTS = ("model", "topic", "output_topic", "error")
_FORM = (
    'an object such as {"input": …, "output": …}, or a list of them for messages in a row; keys: '
    + ", ".join(sorted(_KEYS))
)


@dataclass(frozen=True)
class Output:
    """A result, on whatever topic where `topic` is None."""

    value: Any
    topic: str | None


@dataclass(frozen=True)
class Step:
    """One message, and what has to come of it: `outputs` in their order, or an `error`.

    With `tick` it is none, but a call by time.
    """

    value: Any
    tick: bool
    topic: str | None
    outputs: tuple[Output, ...]
    error: str | None
    tolerance: float


@dataclass(frozen=True)
class Case:
    """A file: messages in a row, for a model whose state is empty before the first."""

    file: Path
    model: str | None
    steps: tuple[Step, ...]


def read_case(file: Path) -> Case:
    """Raises UsageError for what is no case."""
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON: {error}") from error
    entries = document if isinstance(document, list) else [document]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{file}: must be {_FORM}")
    steps = tuple(_step(file, entry) for entry in entries)
    models = {entry["model"] for entry in entries if "model" in entry}
    if len(models) > 1:
        raise UsageError(f"{file}: its messages are for one model, not for {len(models)}")
    return Case(file, next(iter(models), None), steps)


def _step(file: Path, entry: Mapping[str, Any]) -> Step:
    unknown = sorted(entry.keys() - _KEYS)
    begun = sum(beginning in entry for beginning in _BEGINNINGS)
    if unknown or begun != 1 or sum(end in entry for end in _ENDS) != 1:
        wrong = f"unknown key {unknown[0]!r}; " if unknown else ""
        raise UsageError(
            f"{file}: {wrong}each needs `input` (or `tick`), and one of `output`, `outputs`, "
            f"`error`: {_FORM}"
        )
    if entry.get("tick", True) is not True:
        raise UsageError(f"{file}: `tick` must be true: a call by time, instead of an input")
    for key in _TEXTS:
        _check_text(file, key, entry.get(key, ""))
    _check_topics(file, entry)
    tolerance = entry.get("tolerance", 0.0)
    if type(tolerance) not in (int, float) or not 0 <= tolerance < math.inf:
        raise UsageError(f"{file}: `tolerance` must be a number from 0 on, not {tolerance!r}")
    return Step(
        entry.get("input"),
        "tick" in entry,
        entry.get("topic"),
        tuple(_outputs(file, entry)),
        entry.get("error"),
        float(tolerance),
    )


def _check_text(file: Path, key: str, value: object) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{file}: `{key}` must be a text, not {value!r}")


def _check_topics(file: Path, entry: Mapping[str, Any]) -> None:
    topic = entry.get("topic")
    if topic is not None and not is_one(topic):
        raise UsageError(f"{file}: `topic` must be one topic, without + and #, not {topic!r}")
    if "output_topic" in entry and entry.get("output") is None:
        raise UsageError(
            f"{file}: `output_topic` goes with `output`; each of `outputs` has a `topic` of its own"
        )


def _outputs(file: Path, entry: Mapping[str, Any]) -> Iterator[Output]:
    if entry.get("output") is not None:
        yield Output(entry["output"], entry.get("output_topic"))
    several = entry.get("outputs", [])
    if not isinstance(several, list):
        raise UsageError(f"{file}: `outputs` must be a list")
    for one in several:
        if not isinstance(one, dict) or "output" not in one or one.keys() - {"output", "topic"}:
            raise UsageError(
                f'{file}: each of `outputs` must be {{"output": …}}, with a "topic" or without'
            )
        _check_text(file, "topic", one.get("topic", ""))
        yield Output(one["output"], one.get("topic"))


def differences(
    step: Step, tried: Tried, usual_topic: str, read: Callable[[bytes], Any]
) -> Iterator[str]:
    """What is not as it should be, in words; `read` gives the value of a result."""
    if tried.fault is not None:
        said = tried.fault.error
        if step.error is None:
            yield f"failed: {said}"
        elif step.error not in said:
            yield f"the error is {said.partition(chr(10))[0]!r}, without {step.error!r}"
        return
    if step.error is not None:
        yield f"no error, but {_all_shown(tried)}"
        return
    if len(tried.results) != len(step.outputs):
        wanted = ", ".join(json.dumps(output.value) for output in step.outputs) or "null"
        yield f"{_all_shown(tried)}, not {wanted}"
        return
    several = len(step.outputs) > 1
    for number, (result, output) in enumerate(zip(tried.results, step.outputs, strict=True)):
        place = f"outputs[{number}]" if several else "output"
        yield from _unlike(read(result), output.value, step.tolerance, place)
        topic = topic_of(result, usual_topic)
        if output.topic not in (None, topic):
            of = f" of {place}" if several else ""
            yield f"the topic{of} is {topic}, not {output.topic}"


def _unlike(found: Any, wanted: Any, tolerance: float, place: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            inner = f'{place}["{key}"]'
            if key not in found:
                yield f"{inner} is missing"
            elif key not in wanted:
                yield f"{inner} is too much: {_json(found[key])}"
            else:
                yield from _unlike(found[key], wanted[key], tolerance, inner)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from _unlike(one, other, tolerance, f"{place}[{number}]")
    elif not _same(found, wanted, tolerance):
        yield f"{place} is {_json(found)}, not {json.dumps(wanted)}"


def _same(found: Any, wanted: Any, tolerance: float) -> bool:
    numbers = (int, float)
    if (
        isinstance(found, bool)
        or isinstance(wanted, bool)
        or not (isinstance(found, numbers) and isinstance(wanted, numbers))
    ):
        return bool(found == wanted) and type(found) is type(wanted)
    if found != found:  # NaN, of `nan: keep`
        return bool(wanted != wanted)
    try:
        return math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # beyond what a float can be
        return bool(found == wanted)


def _all_shown(tried: Tried) -> str:
    return ", ".join(map(shown, tried.results)) or "nothing"


def _json(value: Any) -> str:
    return json.dumps(value, default=repr)  # other formats have more than JSON
