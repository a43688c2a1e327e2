"""Bills of materials, checked by CycloneDX's own schema."""

from __future__ import annotations

import pytest


def problems(text: str) -> str:
    """What the schema finds wrong; empty if nothing."""
    # Not where a distribution builds its package, and lacks it.
    pytest.importorskip("cyclonedx")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return "" if found is None else str(found)
