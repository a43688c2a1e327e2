"""What devices really send, as readings: by the paths that options give, or by a preset.

Shapes are those of the makers' documentation: zigbee2mqtt (MQTT topics and messages), Tasmota
(tele/+/SENSOR, Zigbee), Shelly (generation 1 and 2, MQTT), SenML (RFC 8428, in JSON and CBOR),
Sparkplug (3.0).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from pyboot_svc.models._options import is_number, shown
from pyboot_svc.topics import Field, NotThere

# The topic's last levels, a payload, and the quantity that is asked for: readings, maybe none.
Preset = Callable[[list[str], Any, str], Iterator[dict[str, Any]]]

# What Tasmota puts around what others have sent it, unless its SetOption100 leaves that out.
_TASMOTA_RECEIVED = ("ZbReceived", "LwReceived", "LwDecoded")
# What Shelly calls quantities: switches have one name for the power, meters of energy two others.
_SHELLY_KEYS = {
    "temperature": ("tC",),
    "humidity": ("rh",),
    "power": ("apower", "act_power", "total_act_power"),
    "illuminance": ("lux",),
}
# SenML, section 4.5.3: times below that are relative to now.
_SENML_ABSOLUTE = 2.0**28
_SENML_UNITS = {"Cel": "C", "degF": "F"}
# SenML, section 6: what stands for the labels in CBOR.
_SENML_LABELS = {-5: "bv", -4: "bu", -3: "bt", -2: "bn", 0: "n", 1: "u", 2: "v", 6: "t"}


def _zigbee2mqtt(levels: list[str], payload: Any, quantity: str) -> Iterator[dict[str, Any]]:
    """`zigbee2mqtt/FRIENDLY_NAME`; a name may have slashes. What it is told isn't what it says."""
    if levels[-1] in ("set", "get"):
        return
    if isinstance(payload, dict) and _is_number(payload.get(quantity)):
        found = {"device": "/".join(levels[1:]), "value": payload[quantity]}
        seen = payload.get("last_seen")
        yield found if seen is None else {**found, "ts": seen}


def _tasmota(levels: list[str], payload: Any, quantity: str) -> Iterator[dict[str, Any]]:
    """`tele/DEVICE/SENSOR`, or with `tele` elsewhere: one object for each sensor, or, within
    `ZbReceived`, for each device of a Zigbee bridge. SetOption119 leaves out whose it is, which the
    topic says then. `Time` has no zone, and is left out."""
    if not isinstance(payload, dict):
        return
    unit = payload.get("TempUnit") if quantity == "temperature" else None
    device = "/".join(level for level in levels[:-1] if level != "tele") or "/".join(levels)
    received = [payload.get(name) for name in _TASMOTA_RECEIVED]
    parts: list[tuple[str, dict[str, Any]]] = []
    for whole in (payload, *(one for one in received if isinstance(one, dict))):
        parts.append((device, whole))
        parts += [
            (f"{device}/{name}", part)
            for name, part in whole.items()
            if isinstance(part, dict) and name not in _TASMOTA_RECEIVED
        ]
    for name, part in parts:
        for key, value in part.items():
            if key.lower() == quantity.lower() and _is_number(value):
                found = {"device": name, "value": value}
                yield found if unit is None else {**found, "unit": unit}


def _shelly(levels: list[str], payload: Any, quantity: str) -> Iterator[dict[str, Any]]:
    """Generation 1: `shellies/DEVICE/sensor/QUANTITY` and, where it has several of a kind,
    `shellies/DEVICE/emeter/0/QUANTITY` or `shellies/DEVICE/ext_QUANTITY/0`, numbers. Later ones:
    `PREFIX/status/…` and `PREFIX/events/rpc`."""
    keys = _SHELLY_KEYS.get(quantity, (quantity,))
    if levels[0] == "shellies":
        if _is_number(payload) and levels[2:-1] == [f"ext_{quantity}"]:
            yield {"device": f"{levels[1]}/{levels[-1]}", "value": payload}
        elif _is_number(payload) and levels[-1] == quantity:
            channel = levels[2:-1] if len(levels) > 3 and levels[-2].isdecimal() else []
            yield {"device": "/".join([_level(levels, 1), *channel]), "value": payload}
    elif isinstance(payload, dict):
        device, parts, ts = "/".join(levels[:-2]) or levels[0], {levels[-1]: payload}, None
        if isinstance(payload.get("params"), dict):
            device, parts = str(payload.get("src", device)), payload["params"]
            ts = parts.get("ts")
        for name, part in parts.items():
            values = map(part.get, keys) if isinstance(part, dict) else ()
            for value in filter(_is_number, values):
                found = {"device": f"{device}/{name}", "value": value}
                yield found if ts is None else {**found, "ts": ts}


def _senml(levels: list[str], payload: Any, quantity: str) -> Iterator[dict[str, Any]]:
    """Records of a pack, with what they have in common resolved (section 4.6)."""
    base: dict[str, Any] = {}
    for item in payload if isinstance(payload, list) else [payload]:
        if not isinstance(item, dict):
            raise ValueError("payload: must be a list of SenML records")
        record: dict[Any, Any] = {
            _SENML_LABELS.get(label, label): _plain(value) for label, value in item.items()
        }
        base.update({key: value for key, value in record.items() if key in _SENML_BASES})
        name = f"{base.get('bn', '')}{record.get('n', '')}"
        value: Any = record.get("v")
        if not _is_number(value) or not name.endswith("" if quantity == "value" else quantity):
            continue
        seconds = _senml_number(base, "bt") + _senml_number(record, "t")
        now = 0.0 if seconds >= _SENML_ABSOLUTE else time.time()
        unit = record.get("u", base.get("bu"))
        found = {"device": name, "value": _senml_number(base, "bv") + value, "ts": now + seconds}
        yield found if unit is None else {**found, "unit": _SENML_UNITS.get(unit, unit)}


def _plain(value: Any) -> Any:
    """A decimal fraction of CBOR as the number that it is."""
    return float(value) if isinstance(value, Decimal) else value


def _senml_number(record: Mapping[str, Any], label: str) -> float:
    value = record.get(label, 0)
    if is_number(value):
        return value
    raise ValueError(f"{label}: must be a number, not {shown(value)}")


def _sparkplug(levels: list[str], payload: Any, quantity: str) -> Iterator[dict[str, Any]]:
    """`spBv1.0/GROUP/TYPE/NODE[/DEVICE]`, decoded: a metric may be in folders, `Pump 1/speed`.

    What is historical is passed over: newer readings came before it.
    """
    if len(levels) < 4 or levels[2] not in _SPARKPLUG_TYPES or not isinstance(payload, dict):
        return
    for metric in payload.get("metrics") or ():
        *folders, name = str(metric.get("name", "")).split("/")
        value = metric.get("value")
        if name == quantity and _is_number(value) and not metric.get("is_historical"):
            device = "/".join((levels[1], *levels[3:], *folders))
            ts = metric.get("timestamp", payload.get("timestamp"))
            found = {"device": device, "value": value}
            yield found if ts is None else {**found, "ts": ts}


_SPARKPLUG_TYPES = ("NBIRTH", "DBIRTH", "NDATA", "DDATA")
_SENML_BASES = ("bn", "bt", "bu", "bv")

PRESETS: Mapping[str, Preset] = {
    "zigbee2mqtt": _zigbee2mqtt,
    "tasmota": _tasmota,
    "shelly": _shelly,
    "senml": _senml,
    "sparkplug": _sparkplug,
}


class Source:
    """Makes readings of payloads. `quantity` is what a preset looks for; `paths` have a field for
    each of `device`, `value`, `unit` and `time` that is somewhere else than usual."""

    def __init__(self, preset: str | None, quantity: str, paths: Mapping[str, Field]) -> None:
        self._preset = PRESETS[preset] if preset is not None else None
        self._quantity = quantity
        self._paths = {("ts" if name == "time" else name): field for name, field in paths.items()}

    def readings(self, payload: Any, topic: str) -> Any:
        """A reading, or a list of them; raises ValueError for what isn't where a path says."""
        if self._preset is not None:
            readings = [
                {**found, **self._at_paths(payload, topic)}
                for found in self._preset(topic.split("/"), payload, self._quantity)
            ]
            return readings[0] if len(readings) == 1 else readings
        if isinstance(payload, list):
            return [self._moved(item, topic) for item in payload]
        return self._moved(payload, topic)

    def _moved(self, payload: Any, topic: str) -> dict[str, Any]:
        usual = payload if isinstance(payload, dict) else {"value": payload}
        return {**usual, **self._at_paths(payload, topic)}

    def _at_paths(self, payload: Any, topic: str) -> dict[str, Any]:
        levels = topic.split("/")
        found = {}
        for name, field in self._paths.items():
            found[name] = value_at(field, payload, levels, name)
        return found


def value_at(field: Field, payload: Any, levels: list[str], name: str) -> Any:
    """Raises ValueError that begins with `name` where it isn't there."""
    try:
        return field.value(payload, levels)
    except NotThere:
        place = "the topic" if field.is_level else "the payload"
        raise ValueError(f"{name}: {place} has no {field.name}") from None


def _level(levels: list[str], number: int) -> str:
    return levels[number] if number < len(levels) else "/".join(levels)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
