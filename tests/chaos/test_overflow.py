"""QoS 0 and a model that is too slow: what is dropped is counted, and is what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.rig import Rig


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_full_queue_drops_and_counts(
    overflow: str, make_rig: Callable[..., Rig], tmp_path: Path, note: Callable[[object], None]
) -> None:
    gate = tmp_path / "gate"
    rig = make_rig(
        "gated",
        pre_qos=0,
        options={"gate": str(gate)},
        queue={"pre": 100, "overflow": overflow},
    )
    rig.start(feed_qos=1)
    rig.feed.send(1)
    rig.until_figure("counters", lambda counters: counters["received"] == 1)
    rig.until_figure("pre_queue", 0)  # the model has it in its hands
    rig.feed.send(999)
    rig.until_figure("counters", lambda counters: counters["received"] == 1000)
    gate.touch()
    row = rig.until_figure("counters", lambda counters: counters["published"] >= 100)
    row = rig.until_figure("pre_queue", 0)
    dropped = row["counters"]["dropped"]
    rig.wait_distinct(1000 - dropped)
    numbers = [arrival.number for arrival in rig.results]
    note(f"1000 in, {dropped} dropped, {len(numbers)} out")
    # 100 wait; one or a few were in the model's hands when it became full.
    first = numbers[: len(numbers) - 100]
    kept = range(900, 1000) if overflow == "drop_oldest" else range(len(first), len(numbers))
    assert numbers[-100:] == list(kept)
    assert first == list(range(len(first)))
    assert dropped == 1000 - len(numbers)
    assert len(first) <= 2
    warnings = [line for line in rig.worker.log.splitlines() if "pre_queue is full" in line]
    assert len(warnings) == 1
