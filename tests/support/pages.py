"""The documentation's code blocks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    return _blocks(page, page.read_text())


def section_of(page: Path, heading: str) -> list[Block]:
    """The blocks below one heading."""
    text = page.read_text()
    start = text.index(f"\n## {heading}\n")
    end = text.find("\n## ", start + 1)
    return _blocks(page, text[start : end if end > 0 else None])


def _blocks(page: Path, text: str) -> list[Block]:
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [Block(str(page.relative_to(ROOT)), language, text) for language, text in found]
