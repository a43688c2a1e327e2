"""Whether a model keeps things in `context.state`, as far as its source tells."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from pathlib import Path

_CONTEXTS = ("context", "ctx", "_context")
_BUNDLED, _WITHOUT = "pyboot_svc.models.", "samples"


def keeps_state(edge_mode: str, model_path: Sequence[str]) -> bool:
    """Nothing is imported; what another module does for it isn't seen."""
    if edge_mode.startswith(_BUNDLED):
        return not edge_mode.startswith(_BUNDLED + _WITHOUT)
    source = _source(edge_mode.split("."), model_path)
    if source is None:
        return False
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return False
    return any(
        isinstance(node, ast.Attribute) and node.attr == "state" and _name(node.value) in _CONTEXTS
        for node in ast.walk(tree)
    )


def _source(names: Sequence[str], model_path: Sequence[str]) -> Path | None:
    """The file of the longest module that these begin with."""
    for length in range(len(names) - 1, 0, -1):
        for folder in model_path:
            base = Path(folder, *names[:length])
            for file in (base.with_suffix(".py"), base / "__init__.py"):
                if os.path.isfile(file):
                    return file
    return None


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""
