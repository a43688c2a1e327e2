"""What models of readings share: what a payload says, and a state per series."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from pyboot_svc.models._options import NAME_WANTED, Options, is_name, is_number, shown
from pyboot_svc.models._population import Population
from pyboot_svc.models._sources import PRESETS, Source
from pyboot_svc.topics import Field

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context

# What devices call these fields; the first that a payload has counts.
_DEVICE_KEYS = ("device", "device_id", "sensor", "sensor_id")
_TIME_KEYS = ("ts", "timestamp", "time")
_REPEATED = ("device", "point", "ts")
# UNIX times from here on, in the year 5138, are in milliseconds.
_MILLISECONDS = 1e11
# No day, as 20260102 is, but one with a digit for a T.
_DIGITS = re.compile(r"\d{9,}.*", re.DOTALL)
# Of the keys that an error message names.
_MOST_KEYS_SHOWN = 3
_LONGEST_KEY_SHOWN = 16


class Reading(NamedTuple):
    """One reading: `echo` is what its result repeats, `seconds` its `ts` as UNIX time."""

    key: str
    value: float
    seconds: float | None
    echo: dict[str, Any]


class SeriesModel(ABC):
    """A model with a state for each series, which is a device and one point of it.

    A payload is a reading, `{"device": text, "value": number, "point": text, "ts": …}`, or a
    number alone, or a list of readings, which is taken as a whole or not at all. Only the value is
    needed:
    - `device` may also be called `device_id`, `sensor` or `sensor_id`; without it, the topic that
      the message came by is the device;
    - `value` may also be called what the point is called;
    - `point` is that of the option `point`, if the reading doesn't say it;
    - `ts`, also `timestamp` or `time`, is UNIX time in seconds or milliseconds, or an ISO 8601
      text; one without a time zone is taken as UTC.

    The options `device`, `value` and `time` say where else something is: a key, as in
    `ENERGY.Power`, or a level of the topic, as in `topic[1]`, from 0 on. `preset` reads what
    zigbee2mqtt, tasmota, shelly, senml and sparkplug send (that with `codec: {in: sparkplug_b,
    out: json}`); messages without the point are passed over.

    `max_devices` limits the series that are remembered (default 10000): the one not seen for
    longest is forgotten, and starts anew when it comes again. `devices` lists the devices to take,
    as in `[pump-1, "boiler-*"]`; a reading of any other is an error.
    """

    def __init__(
        self,
        context: Context,
        options: Options,
        point: str = "value",
        value_keys: Sequence[str] = (),
        **more_paths: Field | None,
    ) -> None:
        """`point` is the default of the option of that name; `value_keys` are more names by which
        devices call the value; `more_paths` tell where else something is."""
        self._population = Population(options, context.logger)
        self._point = options.name("point", point)
        preset = options.choice("preset", None, *PRESETS)
        paths = {name: options.path(name) for name in ("device", "value", "time")} | more_paths
        options.done()
        given = {name: field for name, field in paths.items() if field is not None}
        self._source = Source(preset, self._point, given) if preset or given else None
        self._value_keys = tuple(dict.fromkeys(("value", self._point, *value_keys)))
        self._state = context.state
        self._recent = OrderedDict.fromkeys(context.state)
        self._lock = RLock()

    def __call__(self, payload: Any, context: Context | None = None) -> Any:
        """The result for a reading, or the list of those for a list; None if there is none."""
        topic = context.topic if context is not None else ""
        if self._source is not None:
            payload = self._source.readings(payload, topic)
        if not isinstance(payload, list):
            return self._advance([self._read(payload, topic)])[0]
        readings = [self._read_item(index, item, topic) for index, item in enumerate(payload)]
        return [result for result in self._advance(readings) if result is not None] or None

    @abstractmethod
    def _update(self, reading: Reading, stored: Any) -> tuple[Any, dict[str, Any] | None]:
        """The series' new state and the result. Never raises: `_read` has rejected bad input."""

    def _read(self, payload: Any, topic: str) -> Reading:
        """Check a payload; raises ValueError that begins with the name of the field."""
        if is_number(payload):
            payload = {"value": payload}
        if not isinstance(payload, dict):
            raise ValueError(f"payload: must be an object or a number, not {shown(payload)}")
        device = _device(payload, topic)
        point = _name(payload, "point", self._point)
        self._population.admit(device)
        value = self._value(payload)
        echo: dict[str, Any] = {"device": device}
        if "point" in payload:
            echo["point"] = point
        time_key = _first(payload, _TIME_KEYS)
        if time_key is not None:
            echo["ts"] = payload[time_key]
        return Reading(_key(device, point), value, _seconds(payload, time_key), echo)

    def _value(self, payload: dict[str, Any]) -> float:
        key = _first(payload, self._value_keys)
        if key is None:
            wanted = ", ".join(f"`{key}`" for key in self._value_keys)
            raise ValueError(f"value: is missing; found {_keys(payload)}; accepted {wanted}")
        value = payload[key]
        if not is_number(value):
            raise ValueError(f"{key}: must be a number, not {shown(value)}")
        return float(value)

    def _read_item(self, index: int, item: Any, topic: str) -> Reading:
        try:
            return self._read(item, topic)
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
        while len(self._recent) > self._population.most:
            forgotten, _ = self._recent.popitem(last=False)
            self._forget(forgotten)
            self._population.forgot(forgotten)

    def _forget(self, key: str) -> None:
        self._state.pop(key, None)


def publish_or_log(context: Context, result: dict[str, Any]) -> None:
    """In a tick, which is about many devices: one whose name can't be in a topic, say, keeps no
    other's results back."""
    try:
        context.publish(result)
    except ValueError as error:
        context.logger.error("%s: a result is left out: %s", shown(result["device"]), error)


def repeated(payload: Any) -> dict[str, Any]:
    """What results repeat of a payload that says it: whose they are, and of when."""
    if not isinstance(payload, dict):
        return {}
    return {name: payload[name] for name in _REPEATED if name in payload}


def _first(payload: dict[str, Any], keys: Sequence[str]) -> str | None:
    """The first of `keys` that the payload has."""
    for key in keys:
        if key in payload:
            return key
    return None


def device_of(payload: Any, topic: str) -> str:
    """The device that any payload is of; raises ValueError where neither it nor the topic says."""
    return _device(payload if isinstance(payload, dict) else {}, topic)


def _device(payload: dict[str, Any], topic: str) -> str:
    key = _first(payload, _DEVICE_KEYS)
    return _name(payload, key or "device", topic or None)


def _name(payload: dict[str, Any], field: str, default: str | None) -> str:
    value = payload.get(field, default)
    if is_name(value):
        return str(value)
    raise ValueError(f"{field}: must be {NAME_WANTED}, {instead(payload, field)}")


def _keys(payload: dict[str, Any]) -> str:
    """The keys that a payload has, as they go into a message."""
    names = [str(key) for key in payload]
    cut = [
        name if len(name) <= _LONGEST_KEY_SHOWN else name[: _LONGEST_KEY_SHOWN - 1] + "…"
        for name in names[:_MOST_KEYS_SHOWN]
    ]
    more = ["…"] if len(names) > _MOST_KEYS_SHOWN else []
    return ", ".join([*cut, *more]) or "none"


def _seconds(payload: dict[str, Any], key: str | None) -> float | None:
    ts = None if key is None else payload[key]
    if ts is None:
        return None
    if is_number(ts):
        return ts / 1000 if abs(ts) >= _MILLISECONDS else float(ts)
    try:
        if _DIGITS.fullmatch(ts):  # of milliseconds as text Python makes a day in 1712, say
            raise ValueError
        time = datetime.fromisoformat(ts)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError):
        wanted = "must be seconds since 1970 or an ISO 8601 time"
        raise ValueError(f"{key}: {wanted}, not {shown(ts)}") from None


def instead(payload: dict[str, Any], field: str) -> str:
    return f"not {shown(payload[field])}" if field in payload else "but is missing"


def _key(device: str, point: str) -> str:
    # As in RFC 6901, so that a/b and c is another series than a and b/c.
    return f"{device.replace('~', '~0').replace('/', '~1')}/{point}"
