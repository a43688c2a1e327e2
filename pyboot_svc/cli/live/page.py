"""Makes lines of what there is to see, for a screen of any size: pure, and so easily tried."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from unicodedata import combining, east_asian_width

from pyboot_svc.cli.colours import Colour, colour_of
from pyboot_svc.cli.live.history import KEPT, History, sparkline
from pyboot_svc.cli.live.poller import Reading
from pyboot_svc.cli.live.view import SORTS, Instance, Page, View
from pyboot_svc.cli.table import GAP, STATE, figure_of, fitting_columns, reasons_of
from pyboot_svc.text import ago, printable

_SPARK_WIDTH, _LEAST_WIDTH = 12, 70
_SPARK_TITLE = "in/s"
_LABEL_WIDTH = 12
_HELP = (
    ("Up Down PgUp PgDn, j k", "choose an instance"),
    ("Enter", "all that is known of it; any key leads back"),
    ("/", "filter by name or state; Enter keeps it, Esc ends it"),
    (" ".join(SORTS), f"sort by {', '.join(SORTS.values())}"),
    ("r", "the other way round"),
    ("?", "this help; any key leads back"),
    ("q, Ctrl-C", "quit"),
    ("Ctrl-Z", "to the shell; `fg` leads back"),
)
_SAY: Mapping[str, str] = MappingProxyType({"instance": "name", "p99 ms": "p99"})


@dataclass(frozen=True)
class Span:
    """A part of a line, in one style."""

    text: str
    colour: Colour | None = None
    bold: bool = False
    reverse: bool = False


Line = list[Span]


@dataclass(frozen=True)
class Size:
    """Of the screen; `unicode` says that it shows more than ASCII."""

    width: int
    height: int
    unicode: bool = True


def make_page(view: View, reading: Reading, history: History, size: Size) -> list[Line]:
    """As many lines as the screen has, none of them wider than it is."""
    body = {Page.TABLE: _table, Page.DETAIL: _detail, Page.HELP: _help}[view.page]
    head, foot = [*_head(reading)], _foot(view)
    room = max(size.height - len(head) - len(foot), 1)
    shown = body(view, reading, history, Size(size.width, room, size.unicode))[:room]
    blank: list[Line] = [[] for _ in range(room - len(shown))]
    lines = [*head, *shown, *blank, *foot][: size.height]
    return [_clipped(line, size) for line in lines]


def _head(reading: Reading) -> Iterator[Line]:
    instances = reading.instances
    ready = sum(one.get("state") == "ready" for one in instances)
    rates = "  ".join(f"{t} {_sum(instances, t):.1f}" for t in KEPT[:2])
    clock = time.strftime("%H:%M:%S", time.localtime(reading.moment))
    yield [
        Span("pyboot top", bold=True),
        Span(f"  {clock}  instances {len(instances)}, ready "),
        Span(str(ready), Colour.GREEN if ready == len(instances) else Colour.YELLOW),
        Span(f"  {rates}"),
    ]
    if reading.trouble:
        since = ago(time.time() - reading.moment)
        why = printable(reading.trouble)
        yield [Span(f"the figures are from {since}: {why}", Colour.RED, bold=True)]


def _sum(instances: Sequence[Instance], title: str) -> float:
    return sum(max(figure_of(one, title), 0) for one in instances)


def _foot(view: View) -> list[Line]:
    if view.page is not Page.TABLE:
        return [[Span("any key: back  q quit")]]
    if view.typing:
        return [[Span("/", bold=True), Span(view.filter), Span(" ", reverse=True)]]
    sorts: Line = [Span("sort: ")]
    for key, title in SORTS.items():
        sorts += [
            Span(key, bold=True),
            Span(f" {_SAY.get(title, title)}", reverse=title == view.sort),
            Span(GAP),
        ]
    keys = "q quit  ? help  Enter detail  / filter  r reverse"
    filtered = f"  filter: {view.filter} (Esc ends it)" if view.filter else ""
    return [sorts, [Span(keys), Span(filtered, Colour.YELLOW)]]


def _table(view: View, reading: Reading, history: History, room: Size) -> list[Line]:
    instances = view.shown(reading.instances)
    sparks = room.width >= _LEAST_WIDTH
    columns = fitting_columns(instances, room.width - (sparks and _SPARK_WIDTH + len(GAP)))
    header, *rows = zip(*(column.cells for column in columns), strict=True)
    titles = [column.title for column in columns]
    head: Line = [
        Span(cell + GAP, bold=True, reverse=title == view.sort)
        for title, cell in zip(titles, header, strict=True)
    ]
    if sparks:
        head.append(Span(_SPARK_TITLE.upper().ljust(_SPARK_WIDTH), bold=True))
    lines: list[Line] = []
    at = 0
    for instance, row in zip(instances, rows, strict=True):
        name, chosen = instance["instance"], instance["instance"] == view.chosen
        if chosen:
            at = len(lines)
        line = [
            Span(cell + GAP, _colour(instance) if title == STATE else None, reverse=chosen)
            for title, cell in zip(titles, row, strict=True)
        ]
        if sparks:
            values = history.of(name, _SPARK_TITLE)
            line.append(Span(sparkline(values, _SPARK_WIDTH, unicode=room.unicode)))
        lines.append(line)
        if instance.get("state") != "ready" and (reasons := reasons_of(instance)):
            lines.append([Span(f"    {printable('; '.join(reasons), 1000)}", _colour(instance))])
    if not lines:
        lines = [[Span("no instance is configured" if not view.filter else "none of that name")]]
    return [head, *_scrolled(view, lines, at, room.height - 1)]


def _scrolled(view: View, lines: list[Line], at: int, height: int) -> list[Line]:
    """Those around the line `at`, moving no more than is needed."""
    last = max(len(lines) - height, 0)
    view.offset = min(max(view.offset, at - height + 2), at, last)
    return lines[view.offset : view.offset + max(height, 1)]


def _detail(view: View, reading: Reading, history: History, room: Size) -> list[Line]:
    found = [one for one in reading.instances if one["instance"] == view.chosen]
    if not found:
        return [[Span(f"{view.chosen} is gone", Colour.RED)]]
    [instance] = found
    lines: list[Line] = [
        [Span(view.chosen, bold=True), Span(f"  {instance.get('state')}", _colour(instance))],
        *(
            [Span(f"  {printable(reason, 1000)}", _colour(instance))]
            for reason in reasons_of(instance)
        ),
        [],
    ]
    width = max(room.width - _LABEL_WIDTH - 12, 1)
    for title in KEPT:
        values = history.of(view.chosen, title)
        now = "-" if not values or values[-1] is None else f"{values[-1]:.1f}"
        spark = sparkline(values, width, unicode=room.unicode)
        lines.append([Span(f"{title:{_LABEL_WIDTH}}{now:>10}  {spark}")])
    lines.append([])
    return lines + [
        [Span(f"{label:{_LABEL_WIDTH}}{printable(text, 1000)}")]
        for label, text in _facts(instance)
        if text
    ]


def _facts(instance: Instance) -> Iterator[tuple[str, str]]:
    """What is told of it, by labels."""
    told: dict[str, Any] = {**instance}
    model = " ".join(str(told[key]) for key in ("edge_mode", "model_version") if told.get(key))
    yield "model", model
    if told.get("pid"):
        yield "process", f"pid {told['pid']}, pyboot {told.get('version')}"
    if isinstance(told.get("uptime_s"), int | float):
        cpu, rss = told.get("cpu_s") or 0, told.get("rss_bytes") or 0
        yield "started", f"{ago(told['uptime_s'])}, CPU {cpu:.1f} s, memory {rss / 1e6:.1f} MB"
    brokers = told.get("brokers") or {}
    for role in ("pre", "post"):
        status = brokers.get(role) or {}
        if status:
            yield f"{role} broker", f"{status.get('address')} {status.get('state')}"
    for key in ("restarts", "unacknowledged", "in_flight", "spooled", "dead_letters_waiting"):
        if told.get(key) is not None:
            yield key.removesuffix("_waiting").replace("_", " "), str(told[key])
    errors = told.get("errors") or {}
    yield "errors", ", ".join(f"{kind} {count}" for kind, count in errors.items())


def _help(view: View, reading: Reading, history: History, room: Size) -> list[Line]:
    width = max(len(keys) for keys, _ in _HELP)
    return [[], *([Span(f"  {keys:{width}}  ", bold=True), Span(text)] for keys, text in _HELP)]


def _colour(instance: Instance) -> Colour:
    return colour_of(str(instance.get("state")))


def _clipped(line: Sequence[Span], size: Size) -> Line:
    """As much as fits into the line, in characters that the screen has."""
    left, spans = size.width, []
    for span in line:
        text = span.text if size.unicode else span.text.encode("ascii", "replace").decode()
        kept = ""
        for character in text:
            left -= _cells(character)
            if left < 0:
                break
            kept += character
        spans.append(Span(kept, span.colour, span.bold, span.reverse))
        if left < 0:
            break
    return spans


def _cells(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
