"""What the bundled models share: their options, the readings of a payload, a state per series."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, TypeVar

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context

_Default = TypeVar("_Default")
_Value = TypeVar("_Value")

# Squares of such numbers, and sums of many of them, are still finite.
LARGEST = 1e100
_LONGEST_NAME = 256


class Options:
    """Takes a model's options by name; `done` reports everything that is wrong with them at once.

    An option that is absent or null has its default.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._known: list[str] = []
        self._problems: list[str] = []

    def number(
        self,
        name: str,
        default: _Default,
        wanted: str = "a number",
        fits: Callable[[float], bool] = lambda _: True,
    ) -> float | _Default:
        def check(value: Any) -> bool:
            return _is_number(value) and fits(value)

        return self._take(name, default, wanted, check, float)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        def check(value: Any) -> bool:
            return type(value) is int and least <= value <= most

        return self._take(name, default, f"a whole number from {least} to {most}", check, int)

    def choice(self, name: str, default: _Default, *words: str) -> str | _Default:
        def check(value: Any) -> bool:
            return isinstance(value, str) and value in words

        return self._take(name, default, f"one of {', '.join(words)}", check, str)

    def require(self, condition: bool, problem: str) -> None:
        if not condition:
            self._problems.append(problem)

    def done(self) -> None:
        """Raise ValueError if an option is unknown or has a wrong value."""
        problems = list(self._problems)
        unknown = [str(name) for name in self._given if name not in self._known]
        for name in unknown:
            close = difflib.get_close_matches(name, self._known, n=1)
            hint = f" (did you mean `{close[0]}`?)" if close else ""
            problems.append(f"unknown option `{name}`{hint}")
        if unknown:
            problems.append(f"the options are {', '.join(sorted(self._known))}")
        if problems:
            raise ValueError(f"options: {'; '.join(problems)}")

    def _take(
        self,
        name: str,
        default: _Default,
        wanted: str,
        check: Callable[[Any], bool],
        convert: Callable[[Any], _Value],
    ) -> _Value | _Default:
        self._known.append(name)
        value = self._given.get(name)
        if value is None:
            return default
        if check(value):
            return convert(value)
        self._problems.append(f"`{name}` must be {wanted}, not {shown(value)}")
        return default


class Reading(NamedTuple):
    """One reading: `echo` is what its result repeats, `seconds` its `ts` as UNIX time."""

    key: str
    value: float
    seconds: float | None
    echo: dict[str, Any]


class SeriesModel(ABC):
    """A model with a state for each series, which is a device and one point of it.

    A payload is a reading, `{"device": text, "value": number, "point": text, "ts": …}`, where
    `point` and `ts` may be absent, or a list of readings, which is taken as a whole or not at all.
    `ts` is UNIX time in seconds or an ISO 8601 text; one without a time zone is taken as UTC.

    `max_devices` limits the series that are remembered (default 10000): the one not seen for
    longest is forgotten, and starts anew when it comes again.
    """

    def __init__(self, context: Context, options: Options, point: str = "value") -> None:
        self._max_devices = options.whole("max_devices", 10_000, 1, 10_000_000)
        options.done()
        self._point = point
        self._state = context.state
        self._recent = OrderedDict.fromkeys(context.state)
        self._lock = Lock()

    def __call__(self, payload: Any) -> Any:
        """The result for a reading, or the list of those for a list; None if there is none."""
        if not isinstance(payload, list):
            return self._advance([self._read(payload)])[0]
        readings = [self._read_item(index, item) for index, item in enumerate(payload)]
        return [result for result in self._advance(readings) if result is not None] or None

    @abstractmethod
    def _update(self, reading: Reading, stored: Any) -> tuple[Any, dict[str, Any] | None]:
        """The series' new state and the result. Never raises: `_read` has rejected bad input."""

    def _read(self, payload: Any) -> Reading:
        return read(payload, self._point)

    def _read_item(self, index: int, item: Any) -> Reading:
        try:
            return self._read(item)
        except ValueError as error:
            raise ValueError(f"reading {index}: {error}") from None

    def _advance(self, readings: list[Reading]) -> list[dict[str, Any] | None]:
        results = []
        with self._lock:
            for reading in readings:
                stored, result = self._update(reading, self._state.get(reading.key))
                self._state[reading.key] = stored
                self._remember(reading.key)
                results.append(result)
        return results

    def _remember(self, key: str) -> None:
        self._recent[key] = None
        self._recent.move_to_end(key)
        while len(self._recent) > self._max_devices:
            forgotten, _ = self._recent.popitem(last=False)
            self._state.pop(forgotten, None)


def read(payload: Any, point: str) -> Reading:
    """Check a payload; raises ValueError that begins with the name of the field."""
    if not isinstance(payload, dict):
        raise ValueError(f"payload: must be an object, not {shown(payload)}")
    device = _name(payload, "device", payload.get("device"))
    point = _name(payload, "point", payload.get("point", point))
    value = payload.get("value")
    if not _is_number(value):
        raise ValueError(f"value: must be a number, {instead(payload, 'value')}")
    echo = {name: payload[name] for name in ("device", "point", "ts") if name in payload}
    return Reading(_key(device, point), float(value), _seconds(payload), echo)


def shown(value: Any) -> str:
    """A value as it goes into a message."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 40 else text[:39] + "…"


def _is_number(value: Any) -> TypeGuard[float]:
    # The comparison is false for NaN too, and exact for integers that no float can hold.
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def _name(payload: dict[str, Any], field: str, value: Any) -> str:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable():
        return value
    wanted = f"must be text of 1 to {_LONGEST_NAME} printable characters"
    raise ValueError(f"{field}: {wanted}, {instead(payload, field)}")


def _seconds(payload: dict[str, Any]) -> float | None:
    ts = payload.get("ts")
    if ts is None:
        return None
    if _is_number(ts):
        return float(ts)
    try:
        time = datetime.fromisoformat(ts)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError):
        wanted = "must be seconds since 1970 or an ISO 8601 time"
        raise ValueError(f"ts: {wanted}, {instead(payload, 'ts')}") from None


def instead(payload: dict[str, Any], field: str) -> str:
    return f"not {shown(payload[field])}" if field in payload else "but is missing"


def _key(device: str, point: str) -> str:
    # As in RFC 6901, so that a/b and c is another series than a and b/c.
    return f"{device.replace('~', '~0').replace('/', '~1')}/{point}"
