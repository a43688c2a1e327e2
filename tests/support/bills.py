"""Bills of materials, checked by CycloneDX's own schema."""

from __future__ import annotations

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def problems(text: str) -> str:
    """What the schema finds wrong; empty if nothing."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return "" if found is None else str(found)
