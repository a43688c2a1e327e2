"""What the page at `/` is made of: one style and a few scripts, as they are, without a build.

main       the page's frame and its views, by what stands behind the `#` of the address
store      what the master says, asked every two seconds
dom        elements by a call
words      how an instance does, in a word, a shape and a colour; figures as text
chart      lines in SVG
heat       a histogram over time
overview   the plant as a picture, and its figures
instances  the table
model      one model
dead       which instances have dead letters
letters    those of an instance, and one in full
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    """`kind` is its media type."""

    kind: str
    content: bytes


def read_static() -> dict[str, StaticFile]:
    """All files, by their names."""
    return {
        file.name: StaticFile(_KINDS[file.suffix], file.read_bytes())
        for file in Path(__file__).parent.iterdir()
        if file.suffix in _KINDS
    }
