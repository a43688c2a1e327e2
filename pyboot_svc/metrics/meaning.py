"""What a field of the snapshot means, for people and for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

_LATENCY = (
    "From an input's arrival to its result's being published, spooled ones left out, over the "
    "last 10 s"
)


@dataclass(frozen=True)
class Meaning:
    """What a field says. One without a `kind` is no figure, and only in the API.

    `prometheus` names its family at `/metrics`, empty when it isn't there, and `help` explains the
    family where several fields are of it. With a `label` it is told by that label: a mapping by its
    keys, anything else under `label_value`. Prometheus is told the value by `divisor`. `title`
    heads its column where people are shown a table.
    """

    text: str
    kind: str = ""
    unit: str = ""
    prometheus: str = ""
    help: str = ""
    label: str = ""
    label_value: str = ""
    divisor: int = 1
    title: str = ""


def about(text: str) -> Meaning:
    return Meaning(text)


def counter(
    text: str, prometheus: str, unit: str = "messages", *, label: str = "", title: str = ""
) -> Meaning:
    return Meaning(text, "counter", unit, prometheus, label=label, title=title)


def gauge(text: str, prometheus: str = "", unit: str = "messages", *, title: str = "") -> Meaning:
    return Meaning(text, "gauge", unit, prometheus, title=title)


def latency(title: str, quantile: str, share: str) -> Meaning:
    return Meaning(
        f"{_LATENCY}: {share} of them took no longer.",
        "gauge",
        "ms",
        "pyboot_latency_seconds",
        help=f"{_LATENCY}.",
        label="quantile",
        label_value=quantile,
        divisor=1000,
        title=title,
    )
