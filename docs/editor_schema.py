"""A JSON Schema of the configuration, for editors; reference.py writes it.

Draft 7, which all of them know. It knows each key, its type and its default; what depends on more
than one key, `pyboot check` knows alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pyboot_svc.config.schema import EDGE, EDGE_REFERENCE, FILE

SCHEMA = Path(__file__).parent.parent / "etc" / "config.schema.json"


def editor_schema() -> str:
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "the configuration of pyboot",
        "description": "written by docs/reference.py",
        **FILE.json_schema(),
        "allOf": [_required_of_each_edge(name) for name, key in EDGE.keys.items() if key.required],
        "definitions": {EDGE_REFERENCE.rpartition("/")[2]: EDGE.json_schema_of_given()},
    }
    return json.dumps(document, indent=1) + "\n"


def _required_of_each_edge(name: str) -> dict[str, Any]:
    """What `defaults` doesn't say, each edge has to."""
    by_default = {"properties": {"defaults": {"required": [name]}}, "required": ["defaults"]}
    by_edge = {"properties": {"edge": {"items": {"required": [name]}}}}
    return {"if": by_default, "else": by_edge}
