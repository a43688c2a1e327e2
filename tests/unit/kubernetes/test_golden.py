"""The examples' manifests, to the letter.

After a change that is meant: make golden
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit.kubernetes.rendered import CLUSTERS, render_example

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", CLUSTERS)
def test_manifests_are_those_that_are_kept(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("PYBOOT_GOLDEN") == "write":
        file.write_text(render_example(name))
    assert render_example(name) == file.read_text(), (
        "is that meant? " + str(__doc__).splitlines()[2]
    )
