"""Temperature telemetry: one unit for all devices, and rolling statistics of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pyboot_svc.models._options import Options, shown
from pyboot_svc.models._reading import Reading, SeriesModel
from pyboot_svc.models._summary import Summary, merged, single, statistics

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context


class _Scale(NamedTuple):
    span: int  # degrees in 5 kelvins
    ice: float  # the ice point, 273.15 K
    zero: float  # absolute zero


_SCALES: Mapping[str, _Scale] = {
    "C": _Scale(5, 0.0, -273.15),
    "F": _Scale(9, 32.0, -459.67),
    "K": _Scale(5, 273.15, 0.0),
    "R": _Scale(9, 491.67, 0.0),
}

_UNIT_NAMES: Mapping[str, str] = {
    "celsius": "C",
    "fahrenheit": "F",
    "kelvin": "K",
    "rankine": "R",
}


# Lower-case, since `edge_mode` names it as a function.
class telm_temperature(SeriesModel):
    """Converts a temperature, and gives mean, minimum, maximum and standard deviation.

    In:  `{"device": "pump-7", "temperature": 21.5}`, a number alone, or a list of such; also
         `ts`, `point` (default `temperature`) and `unit` (default C). The temperature may also be
         called `value` or `temp`; without `device`, the topic stands for it (see `SeriesModel`).
         Units: C, F, K, R (Rankine), also as °C, degC, celsius.
    Out: `{"device", "ts", "value", "unit", "count", "mean", "min", "max", "std"}`, over the last
         `window` readings of this device and point with the current one, all in the output unit.
         `std` is that of a population: the root of the mean squared deviation.

    Options: `unit` of the output (default C), `input_unit` of readings that don't say theirs
    (default C), `unit_at`, the key or level of the topic where they say it (or `unit` with such a
    path, as in `meta.unit` or `topic[2]`), `window` in readings (default 60), `point`,
    `max_devices` (default 10000), and those of `SeriesModel`.

    Raises ValueError for a bad reading, one below absolute zero among them.

    Conversion is by the definitions in NIST SP 811, B.8: K = °C + 273.15, °F = 1.8 °C + 32,
    °R = 1.8 K. Statistics are merged after Chan, Golub and LeVeque (1979) in a queue of two stacks
    (see Tangwongsan, Hirzel, Schneider, DEBS 2017): nothing is ever subtracted, so errors don't
    add up however long it runs; a reading costs amortised O(1).
    """

    def __init__(self, context: Context) -> None:
        options = Options(_with_unit_at(context.options))
        self._unit = options.choice("unit", "C", *_SCALES)
        self._input_unit = options.choice("input_unit", "C", *_SCALES)
        self._window = options.whole("window", 60, 1, 100_000)
        names = ("temperature", "temp")
        super().__init__(context, options, "temperature", names, unit=options.path("unit_at"))

    def _read(self, payload: Any, topic: str) -> Reading:
        reading = super()._read(payload, topic)
        unit = _unit(payload, self._input_unit) if isinstance(payload, dict) else self._input_unit
        return reading._replace(value=_converted(reading.value, unit, self._unit))

    def _update(self, reading: Reading, stored: Any) -> tuple[Any, dict[str, Any]]:
        if stored is None or stored["unit"] != self._unit:
            stored = {"unit": self._unit, "front": [], "back": [], "back_summary": []}
        _push(stored, reading.value, self._window)
        result = {**reading.echo, "value": reading.value, "unit": self._unit}
        return stored, {**result, **statistics(_summary(stored))}


def _with_unit_at(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """`unit` as a path, which no unit is: where readings say theirs."""
    given = options.get("unit")
    if "unit_at" in options or not isinstance(given, str) or not {".", "["} & {*given}:
        return options
    others = {name: value for name, value in options.items() if name != "unit"}
    return {**others, "unit_at": given}


def _unit(payload: dict[str, Any], default: str) -> str:
    given = payload.get("unit")
    if given is None:
        return default
    if isinstance(given, str):
        word = given.strip().removeprefix("°").removeprefix("deg").lower()
        unit = _UNIT_NAMES.get(word, word.upper())
        if unit in _SCALES:
            return unit
    raise ValueError(f"unit: must be one of {', '.join(_SCALES)}, not {shown(given)}")


def _converted(value: float, source: str, target: str) -> float:
    origin, wanted = _SCALES[source], _SCALES[target]
    if value < origin.zero:
        raise ValueError(f"value: {value} {source} is below absolute zero")
    if source == target:
        return value
    # By the ice point: the whole degrees that people know come out whole.
    return (value - origin.ice) * wanted.span / origin.span + wanted.ice


def _push(window: dict[str, Any], value: float, size: int) -> None:
    """Add a reading at the back; drop the oldest from the front if there are more than `size`."""
    window["back"].append(value)
    window["back_summary"] = merged(window["back_summary"], single(value))
    while len(window["front"]) + len(window["back"]) > size:
        if not window["front"]:
            _turn(window)
        window["front"].pop()


def _turn(window: dict[str, Any]) -> None:
    """Move the back to the front, where each entry sums up its reading and all the later ones."""
    summary: Summary = []
    for value in reversed(window["back"]):
        summary = merged(single(value), summary)
        window["front"].append(summary)
    window["back"] = []
    window["back_summary"] = []


def _summary(window: dict[str, Any]) -> Summary:
    front = window["front"][-1] if window["front"] else []
    return merged(front, window["back_summary"])
