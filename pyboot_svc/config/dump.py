"""YAML out of plain data. All text is escaped: no value can be more than a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


class _NoAliases(yaml.SafeDumper):
    """Repeats what stands in two places, instead of a reference that few readers follow."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_documents(documents: Iterable[Any]) -> str:
    """A stream of documents, ASCII alone."""
    return yaml.dump_all(documents, Dumper=_NoAliases, sort_keys=False, explicit_start=True)
