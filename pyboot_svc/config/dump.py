"""YAML out of plain data. All text is escaped: no value can be more than a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """For people to read: no aliases, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # A wish: text that a block can't say comes out quoted all the same.
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


def dump_documents(documents: Iterable[Any]) -> str:
    """A stream of documents, ASCII alone."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, explicit_start=True)
