"""What Home Assistant is to show of a model: a sensor for each number in its results.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery: one retained message a sensor, at
homeassistant/sensor/DEVICE/SENSOR/config. All instances of a model say the same: it is one device.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pyboot_svc import __version__
from pyboot_svc.config import InstanceConfig
from pyboot_svc.identity import InstanceId

MOST_SENSORS = 32
_MOST_INSTANCES = 16
_DEEPEST = 3
_LONGEST_RESULT = 64 * 1024
_LONGEST_NAME = 64
_STATE = "{{ (value_json | default({})).state | default('offline') }}"


class Sensors:
    """Those that the results have had until now."""

    def __init__(self, config: InstanceConfig) -> None:
        self._edge = config.edge
        self._device = _name(f"pyboot_{config.edge.name}")
        self._known: dict[str, tuple[str, bytes]] = {}

    def known(self) -> list[tuple[str, bytes]]:
        """The messages, by topic, that say so."""
        return list(self._known.values())

    def of(self, result: bytes) -> list[tuple[str, bytes]]:
        """Messages about the numbers of this one that no former one had."""
        if len(result) > _LONGEST_RESULT:
            return []
        try:
            value = json.loads(result)
        except (ValueError, RecursionError):  # it was encoded with fewer calls around
            return []
        found = []
        for path in _numbers(value):
            name = _name("_".join(path)) or "value"
            if name not in self._known and len(self._known) < MOST_SENSORS:
                self._known[name] = self._message(name, path)
                found.append(self._known[name])
        return found

    def _message(self, name: str, path: tuple[str, ...]) -> tuple[str, bytes]:
        edge = self._edge
        assert edge.status is not None
        told = {
            "name": ".".join(path) or edge.name,
            "unique_id": f"{self._device}_{name}",
            "object_id": f"{self._device}_{name}",
            "state_topic": edge.post.topic,
            "value_template": _template(path),
            "state_class": "measurement",
            "availability": [
                {"topic": edge.status.topic_of(one), "value_template": _STATE}
                for one in (
                    InstanceId(edge.name, number)
                    for number in range(1, min(edge.instance, _MOST_INSTANCES) + 1)
                )
            ],
            "availability_mode": "any",
            "device": {
                "identifiers": [self._device],
                "name": edge.name,
                "manufacturer": "pyboot",
                "model": edge.edge_mode,
                "sw_version": __version__,
            },
            "origin": {"name": "pyboot", "sw_version": __version__},
        }
        return f"homeassistant/sensor/{self._device}/{name}/config", json.dumps(told).encode()


def _numbers(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where numbers stand in it; in lists nobody knows which is which."""
    if isinstance(value, dict) and len(path) < _DEEPEST:
        for key, inner in value.items():
            yield from _numbers(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _template(path: tuple[str, ...]) -> str:
    if not path:
        return "{{ value_json }}"
    keys = "".join(f"[{json.dumps(key)}]" for key in path)
    return f"{{{{ value_json{keys} | default(none) }}}}"


def _name(text: str) -> str:
    """As a level of a discovery topic may be."""
    return re.sub("[^A-Za-z0-9_-]", "_", text)[:_LONGEST_NAME]
