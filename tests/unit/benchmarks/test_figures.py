"""What the generator reckons with in C: when a message is due, and percentiles."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.toolbox import HERE

MS = 1_000_000


class Pace(ctypes.Structure):
    _fields_ = (
        ("period", ctypes.c_double),
        ("origin", ctypes.c_int64),
        ("next", ctypes.c_int64),
        ("last", ctypes.c_int64),
        ("number", ctypes.c_uint32),
        ("gaps", ctypes.c_uint32),
        ("uneven", ctypes.c_uint32),
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("cc") is None or not Path("/usr/include/stdio.h").exists():
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("figures") / "figures.so"
    source = HERE / "load" / "figures.c"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-lm"], check=True
    )
    loaded = ctypes.CDLL(str(library))
    loaded.percentile.restype = ctypes.c_double
    loaded.percentile.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_double)
    loaded.pace_wait.restype = ctypes.c_int64
    for name in ("pace_is_due", "pace_sent", "pace_wait"):
        getattr(loaded, name).argtypes = (ctypes.c_void_p, ctypes.c_int64)
    loaded.pace_start.argtypes = (ctypes.c_void_p, ctypes.c_double, ctypes.c_int64)
    return loaded


def sent_at(
    figures: ctypes.CDLL, moments: Sequence[int], rate: float = 1000
) -> tuple[Pace, list[int]]:
    """The generator looks at each of the `moments`: when it sent."""
    pace = Pace()
    at = ctypes.byref(pace)
    figures.pace_start(at, rate, moments[0])
    sent = []
    for now in moments:
        if figures.pace_is_due(at, now):
            sent.append(now)
            figures.pace_sent(at, now)
    return pace, sent


def test_single_messages_come_at_an_even_distance(figures: ctypes.CDLL) -> None:
    pace, sent = sent_at(figures, range(MS, 11 * MS, MS // 10))
    assert sent == [number * MS for number in range(1, 11)]
    assert (pace.gaps, pace.uneven) == (9, 0)


def test_a_rate_that_no_whole_number_of_ns_makes_is_kept(figures: ctypes.CDLL) -> None:
    _, sent = sent_at(figures, range(MS, 1001 * MS, 10_000), rate=3000)
    assert len(sent) == 3000


def test_late_ones_follow_at_half_the_distance_until_the_schedule_is_met(
    figures: ctypes.CDLL,
) -> None:
    asleep = 5 * MS
    step = MS // 10
    pace, sent = sent_at(figures, [MS, *range(MS + asleep, 21 * MS, step)])
    gaps = [after - before for before, after in pairwise(sent)]
    assert gaps[0] == asleep
    assert min(gaps) == MS // 2
    assert gaps[-5:] == [MS] * 5
    assert len(sent) == 20
    assert pace.uneven == 1


def test_far_too_late_the_schedule_starts_anew(figures: ctypes.CDLL) -> None:
    _, sent = sent_at(figures, [MS, *range(1001 * MS, 1011 * MS, MS // 10)])
    assert len(sent) == 11


def test_the_wait_is_until_the_next_one(figures: ctypes.CDLL) -> None:
    pace, _ = sent_at(figures, [5 * MS])
    assert figures.pace_wait(ctypes.byref(pace), 5 * MS + 1000) == MS - 1000
    assert figures.pace_wait(ctypes.byref(pace), 7 * MS) == 0


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([], 0.5, 0),
        ([7], 0.99, 7),
        ([3, 1, 2], 0.5, 2),
        (list(range(100, 0, -1)), 0.5, 50),
        (list(range(100, 0, -1)), 0.99, 99),
        (list(range(1, 61)), 0.99, 60),
    ],
)
def test_percentiles(figures: ctypes.CDLL, values: list[int], share: float, wanted: float) -> None:
    listed = (ctypes.c_uint32 * len(values))(*values)
    assert figures.percentile(listed, len(values), share) == wanted
