"""What a field of the snapshot means, for people and for Prometheus."""

from __future__ import annotations

from typing import NamedTuple

OWNER = "(the record it is in)"
_LATENCY = (
    "From an input's arrival to its result's being published, spooled ones left out, over the "
    "last 10 s"
)


class Meaning(NamedTuple):
    """What a field says. One without a `kind` is no figure, and only in the API.

    `prometheus` names its family at `/metrics`, empty when it isn't there, and `help` explains the
    family where several fields are of it. With a `label` it is told by that label: a mapping by its
    keys, anything else under `label_value`, which may be the name of the record that it is in
    (OWNER). Prometheus is told the value by `divisor`, of a list how long it is, of a text whether
    it is `truth`. `title` heads its column where people are shown a table. A histogram's `bounds`
    are the upper ones of its buckets, which are the same for all instances and versions: with
    others it needs another name.
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
    truth: str = ""
    bounds: tuple[float, ...] = ()


def about(text: str) -> Meaning:
    return Meaning(text)


def counter(
    text: str, prometheus: str, unit: str = "messages", *, label: str = "", title: str = ""
) -> Meaning:
    return Meaning(text, "counter", unit, prometheus, label=label, title=title)


def histogram(text: str, prometheus: str, unit: str, bounds: tuple[float, ...]) -> Meaning:
    return Meaning(text, "histogram", unit, prometheus, bounds=bounds)


def timestamp(text: str, prometheus: str) -> Meaning:
    return Meaning(f"{text}, in seconds of Unix time.", "gauge", "seconds", prometheus)


def of_broker(meaning: Meaning, *, truth: str = "") -> Meaning:
    """The same of each of the two brokers, told apart by a label."""
    return meaning._replace(label="broker", label_value=OWNER, truth=truth)


def gauge(text: str, prometheus: str = "", unit: str = "messages", *, title: str = "") -> Meaning:
    return Meaning(text, "gauge", unit, prometheus, title=title)


def latency(title: str, quantile: str, share: str) -> Meaning:
    return Meaning(
        f"{_LATENCY}: {share} of them took no longer.",
        "summary",
        "ms",
        "pyboot_latency_seconds",
        help=f"{_LATENCY}.",
        label="quantile",
        label_value=quantile,
        divisor=1000,
        title=title,
    )
