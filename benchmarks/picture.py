"""Bars of CPU time a message, on a logarithmic scale, as SVG for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_LEFT, _WIDTH, _BAR, _GAP, _HEAD = 190, 480, 16, 7, 34
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.o{fill:#1a7f37}"
    ".p{fill:#8c959f}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.o{fill:#3fb950}"
    ".p{fill:#6e7681}}"
)


def bars(charts: Sequence[tuple[str, Sequence[tuple[str, float, bool]]]]) -> str:
    """Charts of (label, µs, ours); the shortest bar is the best, one decade is equally long."""
    values = [value for _, rows in charts for _, value, _ in rows if value > 0]
    if not values:
        return _document([], _HEAD)
    low, high = math.floor(math.log10(min(values))), math.log10(max(values))
    scale = _WIDTH / max(high - low, 0.1)
    parts, y = [], 0
    for title, rows in charts:
        parts.append(f'<text class="t" x="8" y="{y + 22}">{escape(title)}</text>')
        y += _HEAD
        for label, value, ours in sorted(rows, key=lambda row: row[1]):
            width = max((math.log10(max(value, 10**low)) - low) * scale, 2)
            parts += [
                f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
                f'<rect class="{"o" if ours else "p"}" x="{_LEFT}" y="{y}" '
                f'width="{width:.1f}" height="{_BAR}" rx="2"/>',
                f'<text x="{_LEFT + width + 6:.1f}" y="{y + 13}">{value:.3g}</text>',
            ]
            y += _BAR + _GAP
        y += _GAP
    return _document(parts, y)


def _document(parts: Sequence[str], height: int) -> str:
    size = f'width="{_LEFT + _WIDTH + 70}" height="{height + 4}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><style>{_STYLE}</style>'
    return "\n".join([head, *parts, "</svg>", ""])
