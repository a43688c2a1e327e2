"""What devices really send: payloads and topics as their makers document them."""

from __future__ import annotations

import json
import logging
import time
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import cbor2
import pytest

from pyboot_svc.model.sparkplug.decoder import decode
from pyboot_svc.model.sparkplug.encoder import encode
from pyboot_svc.models.alarm import threshold_alarm
from pyboot_svc.models.telemetry import telm_temperature

TASMOTA = (
    '{"Time":"2026-11-04T19:20:30","DS18B20-1":{"Id":"01131B123456","Temperature":20.6},'
    '"AM2301":{"Temperature":70.1,"Humidity":55.4,"DewPoint":15.2},"TempUnit":"F"}'
)
SHELLY_RPC = (
    '{"src":"shellyhtg3-84fce63a8e9c","dst":"shellyhtg3-84fce63a8e9c/events",'
    '"method":"NotifyStatus","params":{"ts":1700000000.12,'
    '"temperature:0":{"id":0,"tC":23.2,"tF":73.8},"humidity:0":{"id":0,"rh":44.1}}}'
)
# RFC 8428, section 5.1.2 and 5.1.3, with a temperature.
SENML = (
    '[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,'
    '"n":"temperature","u":"Cel","v":22.1},{"n":"current","t":-5,"v":1.2},'
    '{"n":"temperature","u":"K","t":-1,"v":295.15},{"n":"open","vb":true}]'
)


class Context(SimpleNamespace):
    def __init__(self, topic: str = "", **options: Any) -> None:
        super().__init__(
            options=options, state={}, topic=topic, logger=logging.getLogger("model.test")
        )


def temperatures(topic: str, payload: str, **options: Any) -> list[tuple[str, float]]:
    """Device and temperature, in C, of each reading."""
    context: Any = Context(topic, **options)
    found = telm_temperature(context)(json.loads(payload), context)
    results = found if isinstance(found, list) else [found] if found else []
    return [(one["device"], round(one["value"], 2)) for one in results]


@pytest.mark.parametrize(
    ("preset", "topic", "payload", "found"),
    [
        (
            "zigbee2mqtt",
            "zigbee2mqtt/0x00158d0001a2b3c4",
            '{"battery":97,"humidity":51.2,"linkquality":94,"temperature":21.43,"voltage":3005}',
            [("0x00158d0001a2b3c4", 21.43)],
        ),
        (
            "zigbee2mqtt",
            "zigbee2mqtt/cellar/pump",
            '{"temperature":8,"last_seen":1700000000123}',
            [("cellar/pump", 8.0)],
        ),
        ("zigbee2mqtt", "zigbee2mqtt/plug", '{"state":"ON","power":12}', []),
        ("zigbee2mqtt", "zigbee2mqtt/new", '{"temperature":null}', []),
        ("zigbee2mqtt", "zigbee2mqtt/bridge/logging", '"a text"', []),
        (
            "tasmota",
            "tele/attic/SENSOR",
            TASMOTA,
            [("attic/DS18B20-1", -6.33), ("attic/AM2301", 21.17)],
        ),
        ("tasmota", "tele/attic/STATE", '{"Time":"2026-11-04T19:20:30","POWER":"ON"}', []),
        (
            "shelly",
            "shellies/shellyht-A1B2C3/sensor/temperature",
            "21.5",
            [("shellyht-A1B2C3", 21.5)],
        ),
        ("shelly", "shellies/ht-A1B2C3/sensor/humidity", "55.5", []),
        (
            "shelly",
            "shellyplus1-a8032abe54dc/status/temperature:100",
            '{"id":100,"tC":23.4,"tF":74.1}',
            [("shellyplus1-a8032abe54dc/temperature:100", 23.4)],
        ),
        (
            "shelly",
            "shellyhtg3-84fce63a8e9c/events/rpc",
            SHELLY_RPC,
            [("shellyhtg3-84fce63a8e9c/temperature:0", 23.2)],
        ),
        ("shelly", "shellyhtg3-84fce63a8e9c/online", "true", []),
        ("shelly", "temperature", "21.5", []),
        (
            "shelly",
            "home/bath/ht/status/temperature:0",
            '{"id":0,"tC":25.6,"tF":78.1}',
            [("home/bath/ht/temperature:0", 25.6)],
        ),
        ("zigbee2mqtt", "zigbee2mqtt/radiator/set", '{"temperature":25}', []),
        (
            "tasmota",
            "attic/tele/SENSOR",
            '{"DS18B20":{"Temperature":20.6},"TempUnit":"C"}',
            [("attic/DS18B20", 20.6)],
        ),
        (
            "tasmota",
            "tele/home/attic/SENSOR",
            '{"DS18B20":{"Temperature":20.6},"TempUnit":"C"}',
            [("home/attic/DS18B20", 20.6)],
        ),
        (
            "tasmota",
            "tele/bridge/SENSOR",
            '{"ZbReceived":{"0x099F":{"Device":"0x099F","Name":"cellar","Temperature":21.5,'
            '"Endpoint":1,"LinkQuality":92},"attic":{"Device":"0xC2EF","Temperature":5}}}',
            [("bridge/0x099F", 21.5), ("bridge/attic", 5.0)],
        ),
        (
            "tasmota",
            "tele/bridge/attic/SENSOR",
            '{"ZbReceived":{"Device":"0xC2EF","Temperature":5,"Endpoint":1,"LinkQuality":92}}',
            [("bridge/attic", 5.0)],
        ),
        (
            "tasmota",
            "tele/bridge/attic/ZbReceived",
            '{"Device":"0xC2EF","Temperature":5,"Endpoint":1,"LinkQuality":92}',
            [("bridge/attic", 5.0)],
        ),
        (
            "tasmota",
            "tele/bridge/SENSOR",
            '{"ZbReceived":{"0x099F":{"Device":"0x099F","ModelId":"lumi.weather"}}}',
            [],
        ),
        ("tasmota", "tele/bridge/SENSOR", '{"ZbReceived":null,"DS18B20":{"Temperature":null}}', []),
        (
            "tasmota",
            "tele/lora/SENSOR",
            '{"LwDecoded":{"Node1":{"Node":1,"Temperature":5}}}',
            [("lora/Node1", 5.0)],
        ),
        ("zigbee2mqtt", "zigbee2mqtt/pump/availability", '{"state":"online"}', []),
        (
            "shelly",
            "shellies/shelly1-A1B2C3/ext_temperature/1",
            "21.5",
            [("shelly1-A1B2C3/1", 21.5)],
        ),
        ("shelly", "shellies/shelly1-A1B2C3/ext_humidity/1", "21.5", []),
        ("shelly", "shellyplus1/status/temperature:100", '{"id":100,"tC":null,"tF":null}', []),
        (
            "senml",
            "plant/gateway",
            SENML,
            [
                ("urn:dev:ow:10e2073a0108006:temperature", 22.1),
                ("urn:dev:ow:10e2073a0108006:temperature", 22.0),
            ],
        ),
    ],
)
def test_presets(preset: str, topic: str, payload: str, found: list[tuple[str, float]]) -> None:
    assert temperatures(topic, payload, preset=preset) == found


def test_a_plain_payload_is_as_it_was() -> None:
    assert temperatures("plant/a", '{"temperature": 21.5}') == [("plant/a", 21.5)]


def test_channels_of_one_shelly_are_devices_of_their_own() -> None:
    context: Any = Context(preset="shelly", point="power", high=5)
    model = threshold_alarm(context)
    for channel, power in ((0, 230.1), (1, 0.1), (0, 230.2)):
        context.topic = f"shellies/shellyem-B9E1D2/emeter/{channel}/power"
        found = model(power, context)
        if channel == 0 and power == 230.1:
            assert found["device"] == "shellyem-B9E1D2/emeter/0"
        else:
            assert found is None


@pytest.mark.parametrize(
    ("part", "payload"),
    [
        ("switch:0", {"id": 0, "output": True, "apower": 8.9, "aenergy": {"total": 6.1}}),
        ("em1:0", {"id": 0, "voltage": 230.1, "act_power": 8.9, "pf": 0.9}),
        ("em:0", {"id": 0, "a_act_power": 4.4, "b_act_power": 4.5, "total_act_power": 8.9}),
    ],
    ids=["switch", "meter", "three-phases"],
)
def test_the_power_of_a_shelly(part: str, payload: Any) -> None:
    context: Any = Context(f"shellypro/status/{part}", preset="shelly", point="power", high=5)
    found = threshold_alarm(context)(payload, context)
    assert (found["device"], found["value"]) == (f"shellypro/{part}", 8.9)


def test_another_quantity_than_the_usual_one() -> None:
    context: Any = Context("tele/attic/SENSOR", preset="tasmota", point="humidity", high=50)
    [found] = [threshold_alarm(context)(json.loads(TASMOTA), context)]
    assert (found["device"], found["value"], found["state"]) == ("attic/AM2301", 55.4, "high")


SPARKPLUG = encode(
    {
        "timestamp": 1_700_000_000_123,
        "metrics": [
            {"name": "temperature", "timestamp": 1_700_000_000_000, "value": 20.5},
            {"name": "Oven 1/temperature", "datatype": "Float", "value": 180.0},
            {"name": "Oven 2/temperature", "datatype": "Int16", "value": -5},
            {"name": "Oven 3/temperature", "value": None},
            {"name": "Oven 4/temperature", "value": 1.0, "is_historical": True},
            {"name": "temperature/limit", "value": 200.0},
            {"name": "text/temperature", "value": "hot"},
        ],
    }
)


@pytest.mark.parametrize("kind", ["DDATA", "DBIRTH"])
def test_metrics_of_sparkplug(kind: str) -> None:
    context: Any = Context(f"spBv1.0/G/{kind}/N/D", preset="sparkplug")
    found = telm_temperature(context)(decode(SPARKPLUG), context)
    assert [(one["device"], one["value"], one["ts"]) for one in found] == [
        ("G/N/D", 20.5, 1_700_000_000_000),
        ("G/N/D/Oven 1", 180.0, 1_700_000_000_123),
        ("G/N/D/Oven 2", -5.0, 1_700_000_000_123),
    ]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("spBv1.0/G/NCMD/N", decode(SPARKPLUG)),
        ("spBv1.0/STATE/h", {"online": True}),
        ("spBv1.0/G/NDATA/N", []),
    ],
    ids=["command", "state", "list"],
)
def test_messages_of_sparkplug_that_are_no_data(topic: str, payload: Any) -> None:
    context: Any = Context(topic, preset="sparkplug")
    assert telm_temperature(context)(payload, context) is None


def test_senml_in_cbor() -> None:
    """Labels are integers there, and a number may be a decimal fraction (RFC 8428, section 6)."""
    pack = [
        {-2: "urn:dev:ow:10e2073a0108006:", -3: 1276020076, -4: "Cel", -5: 0.5, -1: 5},
        {0: "temperature", 2: Decimal("21.5")},
        {0: "temperature", 1: "degF", 2: 68, 6: -5},
        {0: "current", 6: -5, 2: 1.2},
        {0: "temperature", 4: True},
    ]
    context: Any = Context("", preset="senml", point="temperature")
    payload = cbor2.loads(cbor2.dumps(pack))
    found = telm_temperature(context)(payload, context)
    assert [(one["device"], round(one["value"], 2), one["ts"]) for one in found] == [
        ("urn:dev:ow:10e2073a0108006:temperature", 22.0, 1276020076.0),
        ("urn:dev:ow:10e2073a0108006:temperature", 20.28, 1276020071.0),
    ]


def test_times_of_senml() -> None:
    context: Any = Context("", preset="senml", high=0, point="temperature", publish="all")
    first, second = threshold_alarm(context)(json.loads(SENML), context)
    assert (first["ts"], second["ts"]) == (1276020076.001, 1276020075.001)
    now = time.time()
    relative = [{"n": "temperature", "t": -10, "v": 1}]
    found = threshold_alarm(context)(relative, context)
    assert abs(found["ts"] - (now - 10)) < 5


@pytest.mark.parametrize(
    ("topic", "payload", "options", "found"),
    [
        (
            "site/7/data",
            '{"m": {"t": 50}, "scale": "F"}',
            {"device": "topic[1]", "value": "m.t", "unit_at": "scale"},
            [("7", 10.0)],
        ),
        (
            "site/7/F",
            "50",
            {"device": "topic[1]", "unit": "topic[2]"},
            [("7", 10.0)],
        ),
        (
            "site/7",
            '{"v": 50, "meta": {"unit": "F"}}',
            {"device": "topic[1]", "value": "v", "unit": "meta.unit"},
            [("7", 10.0)],
        ),
        ("site/7", '{"id": "x", "v": 5}', {"device": "id", "value": "v"}, [("x", 5.0)]),
        ("site/7", "5", {"device": "topic[0]"}, [("site", 5.0)]),
        ("s", '[{"v": 1}, {"v": 2}]', {"value": "v"}, [("s", 1.0), ("s", 2.0)]),
        (
            "zigbee2mqtt/a",
            '{"temperature": 5, "id": "b"}',
            {"preset": "zigbee2mqtt", "device": "id"},
            [("b", 5.0)],
        ),
    ],
)
def test_paths(
    topic: str, payload: str, options: dict[str, str], found: list[tuple[str, float]]
) -> None:
    assert temperatures(topic, payload, **options) == found


@pytest.mark.parametrize(
    ("topic", "payload", "options", "said"),
    [
        ("a", '{"v": 1}', {"value": "w.x"}, "value: the payload has no w.x"),
        ("a", '{"value": 1}', {"device": "topic[3]"}, r"device: the topic has no topic\[3\]"),
        ("a", '{"v": "warm"}', {"value": "v"}, "value: must be a number, not 'warm'"),
        ("a", "5", {"preset": "senml"}, "payload: must be a list of SenML records"),
        *(
            ("a", f'[{{"n":"temperature","v":1,"{label}":{wrong}}}]', {"preset": "senml"}, says)
            for label, wrong, says in (
                ("bt", '"x"', "bt: must be a number, not 'x'"),
                ("t", "null", "t: must be a number, not null"),
                ("bv", "true", "bv: must be a number, not true"),
            )
        ),
    ],
)
def test_what_is_not_where_a_path_says(
    topic: str, payload: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        temperatures(topic, payload, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"preset": "sonoff"},
            "`preset` must be one of zigbee2mqtt, tasmota, shelly, senml, sparkplug",
        ),
        ({"device": "a b"}, r"`device` must be a key, as in a.b, or topic\[1\], not 'a b'"),
        ({"unit_at": "a b"}, "`unit_at` must be a key"),
    ],
)
def test_options_that_are_wrong(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        telm_temperature(Context(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("ts", [1_700_000_000, 1_700_000_000_000])
def test_seconds_and_milliseconds(ts: int) -> None:
    context: Any = Context("a", high=1, on_delay=10)
    model = threshold_alarm(context)
    assert model({"value": 5, "ts": ts}, context) is None
    later = ts + (10 if ts < 1e11 else 10_000)
    assert model({"value": 5, "ts": later}, context)["state"] == "high"
