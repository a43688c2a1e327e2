"""The figures as Prometheus reads them: in its text format, or in OpenMetrics.

Written by hand: a thousand instances are a hundred thousand lines, and a library that makes an
object of each takes seconds for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

from pyboot_svc.metrics.figures import (
    FIGURES,
    INFO,
    MASTER_INFO,
    MASTER_STARTED,
    MASTERS,
    READY,
    REFUSED,
    UP,
    Figure,
)
from pyboot_svc.metrics.meaning import Meaning

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_INFO_LABELS = ("version", "edge_mode", "model_version", "code")
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

# Of one instance: its labels as they are written, and what /api/instances has of it.
_Row = tuple[str, Mapping[str, Any]]


def content_type(accepted: str) -> str:
    """What to answer to this header `Accept`."""
    return OPEN_METRICS if "application/openmetrics-text" in accepted else PROMETHEUS


def render_metrics(document: Mapping[str, Any], kind: str = PROMETHEUS) -> bytes:
    """`document` is what /api/instances gives, `kind` one of the two content types."""
    open_metrics = kind == OPEN_METRICS
    lines: list[str] = []
    for meaning, samples in _families(document):
        lines += _head(meaning, open_metrics)
        lines += samples
    if open_metrics:
        lines.append("# EOF")
    return "\n".join([*lines, ""]).encode()


def _families(document: Mapping[str, Any]) -> Iterator[tuple[Meaning, Iterable[str]]]:
    rows = [(_labels(_identity(instance)), instance) for instance in document["instances"]]
    answering = [row for row in rows if row[1]["error"] is None]
    yield from _of_master(document)
    yield UP, [_line(UP, own, int(one["error"] is None)) for own, one in rows]
    yield READY, [_line(READY, own, int(one["state"] == "ready")) for own, one in rows]
    told = (
        (own, _labels({name: str(one.get(name, "")) for name in _INFO_LABELS}))
        for own, one in answering
    )
    yield INFO, [_line(INFO, f"{own},{more}", 1) for own, more in told]
    yield from _told(MASTERS, rows)
    yield from _told(FIGURES, answering)


def _of_master(document: Mapping[str, Any]) -> Iterator[tuple[Meaning, Iterable[str]]]:
    about = {name: str(document.get(name, "")) for name in ("version", "app_name")}
    yield MASTER_INFO, [_line(MASTER_INFO, _labels(about), 1)]
    if "started" in document:
        yield MASTER_STARTED, [f"{MASTER_STARTED.prometheus} {document['started']}"]
    refused = document.get("refused_connections", {})
    yield REFUSED, [_line(REFUSED, _labels({"reason": why}), n) for why, n in refused.items()]


def _told(
    figures: Sequence[Figure], rows: Sequence[_Row]
) -> Iterator[tuple[Meaning, Iterable[str]]]:
    """The families, one after the other: several figures may be of one."""
    families: dict[str, list[Figure]] = {}
    records: dict[tuple[str, ...], list[_Row]] = {}
    for figure in figures:
        if figure.meaning.prometheus:
            families.setdefault(figure.meaning.prometheus, []).append(figure)
            inside = figure.path[:-1]
            if inside not in records:
                records[inside] = list(_within(rows, inside))
    for family in families.values():
        lines = [_sampled(figure, records[figure.path[:-1]]) for figure in family]
        # Those of one instance stand together.
        yield family[0].meaning, lines[0] if len(lines) == 1 else sorted(chain(*lines))


def _within(rows: Iterable[_Row], path: tuple[str, ...]) -> Iterator[_Row]:
    """The records at `path`, of the instances that have it."""
    for own, record in rows:
        for key in path:
            record = record.get(key) or {}
        if record:
            yield own, record


def _sampled(figure: Figure, rows: Iterable[_Row]) -> Iterator[str]:
    key = figure.key
    found = ((own, row[key]) for own, row in rows if row.get(key) is not None)
    if figure.meaning.bounds:
        return _buckets(figure.meaning, found)
    return (_each if figure.spreads else _samples)(figure, found)


def _samples(figure: Figure, found: Iterable[tuple[str, Any]]) -> Iterator[str]:
    meaning, number = figure.meaning, figure.number
    own = f',{meaning.label}="{meaning.label_value}"' if meaning.label else ""
    start, end = f"{meaning.prometheus}{{", f"{own}}} "
    return (f"{start}{labels}{end}{number(value)}" for labels, value in found)


def _each(figure: Figure, found: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """A sample for each key of a mapping, or one for a text."""
    for labels, value in found:
        counts = value if isinstance(value, Mapping) else {value: 1}
        for name, count in counts.items():
            yield _line(figure.meaning, f"{labels},{_labels({figure.meaning.label: name})}", count)


def _buckets(meaning: Meaning, found: Iterable[tuple[str, Any]]) -> Iterator[str]:
    name = meaning.prometheus
    ends = [f',le="{bound}"}} ' for bound in meaning.bounds]
    ends.append(',le="+Inf"} ')
    for labels, value in found:
        start, up_to = f"{name}_bucket{{{labels}", list(accumulate(value["counts"]))
        yield from [f"{start}{end}{count}" for end, count in zip(ends, up_to, strict=True)]
        yield f"{name}_sum{{{labels}}} {value['sum']}"
        yield f"{name}_count{{{labels}}} {up_to[-1]}"


def _head(meaning: Meaning, open_metrics: bool) -> tuple[str, str]:
    name, kind = meaning.prometheus, meaning.kind
    if open_metrics:  # where what follows from the kind is no part of the name
        name = name.removesuffix({"counter": "_total", "info": "_info"}.get(kind, ""))
    elif kind == "info":
        kind = "gauge"
    text = _escaped(meaning.help or meaning.text)
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _line(meaning: Meaning, labels: str, value: float) -> str:
    return f"{meaning.prometheus}{{{labels}}} {value}"


def _identity(instance: Mapping[str, Any]) -> dict[str, str]:
    return {"model": instance["model"], "instance": str(instance["number"])}


def _labels(values: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(text: str) -> str:
    return text.translate(_ESCAPED)
