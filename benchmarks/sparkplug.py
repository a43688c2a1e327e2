"""What decoding Sparkplug B takes, beside Google's protobuf library, which parses in C.

That is asked twice: for the same dict as pyboot's decoder gives, made by hand of what is parsed,
and for `MessageToDict`, which knows neither names of aliases nor signs. Prints a Markdown table of
CPU time, medians of rounds in which each has its turn. Run it by `make sparkplug`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from google.protobuf.internal import api_implementation
from google.protobuf.json_format import MessageToDict
from support.sparkplug import payload_class

from pyboot_svc.model.sparkplug.datatypes import BITS, DATATYPES, NUMBERS, SIGNED
from pyboot_svc.model.sparkplug.decoder import NO_NAMES, Names, decode

_NOW = 1_777_636_800_000
_TURN_SECONDS = 0.05
_FLAGS = ("is_historical", "is_transient")
_KINDS = ("Double", "Float", "Int32", "Boolean")
_VALUES = {
    "Double": ("double_value", 21.5),
    "Float": ("float_value", 21.5),
    "Int32": ("int_value", 2**32 - 5),
    "Boolean": ("boolean_value", True),
}

Payload = payload_class()


class Case:
    """A payload of `count` metrics: a birth that names them, or data by their aliases."""

    def __init__(self, title: str, count: int, *, birth: bool) -> None:
        self.title = title
        message = Payload(timestamp=_NOW, seq=7)
        known = {}
        for number in range(count):
            datatype = _KINDS[number % len(_KINDS)]
            name = f"Line {number % 4}/Drive {number}/{datatype} value"
            metric = message.metrics.add(alias=number, timestamp=_NOW)
            if birth:
                metric.name, metric.datatype = name, NUMBERS[datatype]
                metric.properties.keys.append("engUnit")
                metric.properties.values.add(type=NUMBERS["String"], string_value="rpm")
            else:
                known[number] = name, datatype
            field, value = _VALUES[datatype]
            setattr(metric, field, value)
        self.payload: bytes = message.SerializeToString()
        self.names = NO_NAMES if birth else Names(known, dict(known.values()))


CASES = (
    Case("data, 1 metric", 1, birth=False),
    Case("data, 10 metrics", 10, birth=False),
    Case("data, 100 metrics", 100, birth=False),
    Case("birth, 100 metrics with a property", 100, birth=True),
)


def by_hand(payload: bytes, names: Names) -> dict[str, Any]:
    """The dict of `decode`, by the reference library."""
    message = Payload.FromString(payload)
    found: dict[str, Any] = {"timestamp": message.timestamp, "seq": message.seq}
    found["metrics"] = [_metric(metric, names) for metric in message.metrics]
    return found


def _metric(metric: Any, names: Names) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if metric.HasField("name"):
        found["name"] = metric.name
    if metric.HasField("alias"):
        found["alias"] = metric.alias
    if metric.HasField("timestamp"):
        found["timestamp"] = metric.timestamp
    for flag in _FLAGS:
        if metric.HasField(flag):
            found[flag] = getattr(metric, flag)
    if metric.HasField("properties"):
        values = [_typed(value) for value in metric.properties.values]
        found["properties"] = dict(zip(metric.properties.keys, values, strict=True))
    datatype = DATATYPES[metric.datatype]
    if "name" not in found:
        found["name"], datatype = names.by_alias[metric.alias]
    found["datatype"] = datatype
    found["value"] = None if metric.is_null else _value(metric, datatype)
    return found


def _typed(value: Any) -> dict[str, Any]:
    datatype = DATATYPES[value.type]
    return {"type": datatype, "value": None if value.is_null else _value(value, datatype)}


def _value(message: Any, datatype: str) -> Any:
    value = getattr(message, message.WhichOneof("value"))
    if datatype in SIGNED and value >= 1 << (BITS[datatype] - 1):
        return value - (1 << BITS[datatype])
    return value


def to_dict(payload: bytes, names: Names) -> dict[str, Any]:
    return MessageToDict(Payload.FromString(payload), preserving_proto_field_name=True)


Decoder = Callable[[bytes, Names], dict[str, Any]]
DECODERS: tuple[Decoder, ...] = (decode, by_hand, to_dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each decoder")
    rounds = parser.parse_args().rounds
    print(
        "| payload | bytes | pyboot, µs | protobuf and by hand, µs | ratio | "
        "`MessageToDict`, µs | ratio |\n|---|---|---|---|---|---|---|"
    )
    for case in CASES:
        ours, hand, whole = measured(case, rounds)
        print(
            f"| {case.title} | {len(case.payload)} | {ours:.1f} | {hand:.1f} | {ours / hand:.2f} | "
            f"{whole:.1f} | {ours / whole:.2f} |"
        )
    print(f"\nprotobuf's implementation: {api_implementation.Type()}")


def measured(case: Case, rounds: int) -> list[float]:
    """CPU time of one payload by each decoder, in µs."""
    assert decode(case.payload, case.names) == by_hand(case.payload, case.names)
    turns: list[list[float]] = [[] for _ in DECODERS]
    for _ in range(rounds):
        for decoder, found in zip(DECODERS, turns, strict=True):
            found.append(_turn(decoder, case))
    return [statistics.median(found) * 1e6 for found in turns]


def _turn(decoder: Decoder, case: Case) -> float:
    began, count = time.process_time(), 0
    while (spent := time.process_time() - began) < _TURN_SECONDS:
        for _ in range(10):
            decoder(case.payload, case.names)
        count += 10
    return spent / count


if __name__ == "__main__":
    main()
