"""Lines over rates, on a logarithmic scale, as SVG for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _TOP, _WIDTH, _HEIGHT = 72, 34, 330, 190
_COLUMN, _ROW, _LEGEND = 436, 266, 34
_STEPS = (1, 2, 5)
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:13px}"
    ".g{stroke:#d0d7de}polyline{fill:none;stroke-width:2}"
    ".c0{stroke:#1a7f37;stroke-width:3}.c1{stroke:#0969da}.c2{stroke:#bc4c00}"
    ".c3{stroke:#8c959f;stroke-dasharray:5 3}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.g{stroke:#30363d}.c0{stroke:#3fb950}"
    ".c1{stroke:#58a6ff}.c2{stroke:#f0883e}.c3{stroke:#6e7681}}"
)
_LOOKS = 4


@dataclass(frozen=True)
class Curve:
    """A value for each place; None is a gap."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Panel:
    """`places` stand under the lines, at even distances."""

    title: str
    places: Sequence[str]
    curves: Sequence[Curve]


def curves(panels: Sequence[Panel], columns: int) -> str:
    """Panels side by side, with one legend: their curves have the same names in the same order."""
    parts = _legend(panels[0].curves) if panels else []
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({column * _COLUMN},{_LEGEND + row * _ROW})">')
        parts += [*_draw(panel), "</g>"]
    rows = math.ceil(len(panels) / columns) if panels else 0
    size = f'width="{columns * _COLUMN}" height="{_LEGEND + rows * _ROW}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><style>{_STYLE}</style>'
    return "\n".join([head, *parts, "</svg>", ""])


def ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, … from the last not above `low` to the first not below `high`."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [step * 10.0**exponent for exponent in exponents for step in _STEPS]
    first = max(number for number, step in enumerate(steps) if step <= low)
    last = min(number for number, step in enumerate(steps) if step >= high)
    return steps[first : max(last, first + 1) + 1]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _legend(known: Sequence[Curve]) -> list[str]:
    parts = []
    for number, curve in enumerate(known):
        x = _LEFT + number * 130
        parts += [
            f'<polyline class="c{number % _LOOKS}" points="{x},18 {x + 26},18"/>',
            f'<text x="{x + 32}" y="22">{escape(curve.name)}</text>',
        ]
    return parts


def _draw(panel: Panel) -> Iterator[str]:
    yield f'<text class="t" x="{_LEFT}" y="22">{escape(panel.title)}</text>'
    known = [value for curve in panel.curves for value in curve.values if value]
    if not known:
        return
    scale = ticks(min(known), max(known))
    low, high = math.log10(scale[0]), math.log10(scale[-1])
    bottom = _TOP + _HEIGHT

    def at(value: float) -> float:
        return bottom - (math.log10(value) - low) / (high - low) * _HEIGHT

    for value in scale:
        y = at(value)
        yield f'<line class="g" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>'
    places = [
        _LEFT + (number + 0.5) * _WIDTH / len(panel.places) for number in range(len(panel.places))
    ]
    for x, place in zip(places, panel.places, strict=True):
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(place)}</text>'
    for number, curve in enumerate(panel.curves):
        points = " ".join(
            f"{x:.1f},{at(value):.1f}"
            for x, value in zip(places, curve.values, strict=True)
            if value
        )
        yield f'<polyline class="c{number % _LOOKS}" points="{points}"/>'
