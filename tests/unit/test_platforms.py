"""docs/platforms.md: every cell names tests that exist, or says that there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "platforms.md").read_text()
ROWS = [line.strip("| \n").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
TESTS = re.findall(r"^(\d+)\. `(\S+)::(\w+)`$", TEXT, re.MULTILINE)
CAPABILITIES = {
    *("start", "readiness", "progress watchdog", "limits", "sandbox", "drain"),
    *("rolling restart", "logs", "metrics"),
}


def cells() -> list[str]:
    return [cell for row in ROWS[1:] for cell in row[1:]]


def test_every_capability_has_a_row_and_every_row_a_cell_a_platform() -> None:
    assert {row[0] for row in ROWS[1:]} == CAPABILITIES
    assert {len(row) for row in ROWS[1:]} == {6}


@pytest.mark.parametrize("cell", cells())
def test_every_cell_names_a_test_or_says_that_there_is_none(cell: str) -> None:
    named = re.findall(r"\[(\d+)\]", cell)
    assert named or cell.startswith("none") or "*(not proven)*" in cell


def test_every_test_is_named_and_every_number_is_a_test() -> None:
    numbers = [number for number, _, _ in TESTS]
    assert numbers == [str(number) for number in range(1, len(TESTS) + 1)]
    assert set(re.findall(r"\[(\d+)\]", "".join(cells()))) == set(numbers)


@pytest.mark.parametrize(("file", "name"), [(file, name) for _, file, name in TESTS])
def test_every_test_exists(file: str, name: str) -> None:
    assert f"\ndef {name}(" in (ROOT / file).read_text()
