"""What Home Assistant is told of results: names, templates, and no more than a bounded number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.store import configured

from pyboot_svc.config import StatusOptions
from pyboot_svc.worker.mqtt.home_assistant import MOST_SENSORS, Sensors


def sensors(**changes: Any) -> Sensors:
    return Sensors(configured(status=StatusOptions(home_assistant=True), **changes))


def told(found: list[tuple[str, bytes]]) -> dict[str, dict[str, Any]]:
    return {topic: json.loads(payload) for topic, payload in found}


RESULTS = {
    "a mean": ({"mean": 1.5}, {"mean": '{{ value_json["mean"] | default(none) }}'}),
    "nested": ({"a": {"b": 1}}, {"a_b": '{{ value_json["a"]["b"] | default(none) }}'}),
    "a number alone": (21.5, {"value": "{{ value_json }}"}),
    "nothing to show": ({"text": "x", "on": True, "list": [1, 2], "none": None}, {}),
    "a list": ([1, 2], {}),
    "an odd key": ({'é"/+ #': 2}, {"______": '{{ value_json["\\u00e9\\"/+ #"] | default(none) }}'}),
}


@pytest.mark.parametrize(("result", "expected"), RESULTS.values(), ids=RESULTS)
def test_each_number_of_a_result_is_a_sensor(result: Any, expected: dict[str, str]) -> None:
    found = told(sensors().of(json.dumps(result).encode()))
    names = {topic.split("/")[3]: one["value_template"] for topic, one in found.items()}
    assert names == expected
    for topic, one in found.items():
        assert topic.startswith("homeassistant/sensor/pyboot_")
        assert topic.endswith("/config")
        assert one["unique_id"].startswith(one["device"]["identifiers"][0])


def test_what_is_known_is_not_told_twice_but_to_another_connection() -> None:
    some = sensors()
    first = some.of(b'{"a": 1}')
    assert some.of(b'{"a": 2}') == []
    assert some.known() == first
    assert len(some.of(b'{"a": 2, "b": 3}')) == 1


def test_their_number_is_bounded() -> None:
    some = sensors()
    some.of(json.dumps({f"key{number}": 1 for number in range(1000)}).encode())
    assert len(some.known()) == MOST_SENSORS


@pytest.mark.parametrize(
    "result", [b"\xff", b"{", b"", b"1" * 100_000, b"[" * 30_000 + b"]" * 30_000], ids=len
)
def test_what_is_no_json_or_too_long_or_deep_has_none(result: bytes) -> None:
    assert sensors().of(result) == []


def test_it_is_available_while_any_instance_is() -> None:
    [(_, one)] = told(sensors(instance=3).of(b'{"a": 1}')).items()
    topics = [where["topic"] for where in one["availability"]]
    name = one["device"]["name"]
    assert topics == [f"pyboot/status/{name}-{number}" for number in (1, 2, 3)]
    assert one["availability_mode"] == "any"
