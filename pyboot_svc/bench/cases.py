"""Golden cases of a model: what it is given, and what has to come out of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyboot_svc.bench.trial import Tried
from pyboot_svc.errors import UsageError
from pyboot_svc.worker.messages import topic_of

_KEYS = {"model", "input", "topic", "output", "output_topic", "error", "tolerance"}
_FORM = (
    'an object such as {"input": …, "output": …}, or a list of them for messages in a row; keys: '
    + ", ".join(sorted(_KEYS))
)


@dataclass(frozen=True)
class Step:
    """One message, and what has to come of it: an `output` (None: nothing) or an `error`."""

    payload: bytes
    topic: str | None
    output: Any
    output_topic: str | None
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
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from error
    entries = document if isinstance(document, list) else [document]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{file}: must be {_FORM}")
    models = {entry["model"] for entry in entries if "model" in entry}
    if len(models) > 1:
        raise UsageError(f"{file}: its messages are for one model, not for {len(models)}")
    return Case(file, next(iter(models), None), tuple(_step(file, entry) for entry in entries))


def _step(file: Path, entry: Mapping[str, Any]) -> Step:
    unknown = sorted(entry.keys() - _KEYS)
    if unknown or "input" not in entry or ("output" in entry) == ("error" in entry):
        wrong = f"unknown key {unknown[0]!r}; " if unknown else ""
        raise UsageError(f"{file}: {wrong}each needs `input`, and `output` or `error`: {_FORM}")
    tolerance = entry.get("tolerance", 0.0)
    if not isinstance(tolerance, int | float) or tolerance < 0:
        raise UsageError(f"{file}: `tolerance` must be a number from 0 on, not {tolerance!r}")
    return Step(
        json.dumps(entry["input"]).encode(),
        entry.get("topic"),
        entry.get("output"),
        entry.get("output_topic"),
        entry.get("error"),
        float(tolerance),
    )


def differences(step: Step, tried: Tried, usual_topic: str) -> Iterator[str]:
    """What is not as it should be, in words."""
    if tried.fault is not None:
        said = tried.fault.error
        if step.error is None:
            yield f"failed: {said}"
        elif step.error not in said:
            yield f"the error is {said.partition(chr(10))[0]!r}, without {step.error!r}"
        return
    if step.error is not None:
        yield f"no error, but {_shown(tried.result)}"
        return
    if tried.result is None or step.output is None:
        if (tried.result is None) != (step.output is None):
            yield f"{_shown(tried.result)}, not {json.dumps(step.output)}"
        return
    yield from _unlike(_value(tried.result), step.output, step.tolerance, "output")
    topic = topic_of(tried.result, usual_topic)
    if step.output_topic not in (None, topic):
        yield f"the topic is {topic}, not {step.output_topic}"


def _unlike(found: Any, wanted: Any, tolerance: float, place: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            inner = f'{place}["{key}"]'
            if key not in found:
                yield f"{inner} is missing"
            elif key not in wanted:
                yield f"{inner} is too much: {json.dumps(found[key])}"
            else:
                yield from _unlike(found[key], wanted[key], tolerance, inner)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from _unlike(one, other, tolerance, f"{place}[{number}]")
    elif not _same(found, wanted, tolerance):
        yield f"{place} is {json.dumps(found)}, not {json.dumps(wanted)}"


def _same(found: Any, wanted: Any, tolerance: float) -> bool:
    numbers = (int, float)
    if (
        isinstance(found, bool)
        or isinstance(wanted, bool)
        or not (isinstance(found, numbers) and isinstance(wanted, numbers))
    ):
        return bool(found == wanted) and type(found) is type(wanted)
    return math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)


def _value(result: bytes) -> Any:
    """What a result says as JSON, or as text where a model of `codec: raw` gives no JSON."""
    try:
        return json.loads(result)
    except ValueError:
        return _shown(result)


def _shown(result: bytes | None) -> str:
    return "nothing" if result is None else result.decode("utf-8", "backslashreplace")
