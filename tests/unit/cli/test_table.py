"""The table of all instances, as wide as there is room."""

from __future__ import annotations

import pytest

from pyboot_svc.cli.table import table_lines

ROW = {
    "instance": "telm_temperature-1",
    "state": "ready",
    "error": None,
    "pre_queue": 3,
    "post_queue": 0,
    "rates": {"in": 195.6, "out": 95.6},
    "latency_ms": {"p50": 0.336, "p99": 10.752},
    "counters": {"nothing_to_publish": 12, "dropped": 0},
    "errors": {"model": 1},
    "dead_letters_waiting": 1,
    "spooled": 7,
    "restarts": 2,
}
ALL = (
    "INSTANCE STATE IN/S OUT/S PRE_QUEUE POST_QUEUE P50 MS P99 MS NONE ERRORS DEAD SPOOLED DROPPED "
    "RESTARTS LAST IN LAST OUT"
)


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (None, ALL),
        (200, ALL),
        (80, "INSTANCE STATE IN/S OUT/S PRE_QUEUE POST_QUEUE ERRORS DEAD"),
        (60, "INSTANCE STATE IN/S OUT/S PRE_QUEUE ERRORS"),
        (10, "INSTANCE STATE"),
    ],
    ids=str,
)
def test_what_is_important_comes_first(width: int | None, columns: str) -> None:
    header, line = table_lines([ROW], width)
    assert " ".join(header.split()) == columns
    assert len(header) == len(line)
    if width is not None and width > 20:
        assert len(header) <= width


def test_numbers_stand_to_the_right_and_names_to_the_left() -> None:
    lines = table_lines([ROW, {**ROW, "instance": "a-1", "rates": {"in": 1.0, "out": 2.0}}], 50)
    assert lines == [
        "INSTANCE            STATE   IN/S  OUT/S  ERRORS",
        "telm_temperature-1  ready  195.6   95.6       1",
        "a-1                 ready    1.0    2.0       1",
    ]


def test_what_is_not_known_is_a_dash() -> None:
    _, line = table_lines([{"instance": "a-1", "state": "failed", "error": None}])
    assert line.split() == ["a-1", "failed", *["-"] * 14]


def test_without_instances_there_is_a_header() -> None:
    assert table_lines([], 80)[0].startswith("INSTANCE  STATE")
