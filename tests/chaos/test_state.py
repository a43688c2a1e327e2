"""`context.state` survives whatever ends the process, and goes with the messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.poll import until

from chaos.conftest import Sizes
from chaos.rig import Rig, StateDisk


def wait_counted(rig: Rig, sent: int) -> int:
    """Send more until the model has seen all; gives how many they are now.

    Acknowledged means committed: not one of the numbers is missing. One more message may not be
    enough, since another thread may be at those that come again.
    """

    seen: list[int] = []

    def all_are_counted() -> bool:
        nonlocal sent
        rig.feed.send(1)
        sent += 1
        rig.wait_distinct(sent)
        seen.append(json.loads(rig.results[-1].payload)["seen"])
        return seen[-1] == sent

    # A start is in it, which takes long on a busy host.
    try:
        until(all_are_counted, "all are counted", 60.0)
    except AssertionError as error:
        raise AssertionError(f"{error}: of {sent} it saw {seen[-9:]}\n{rig.logs}") from None
    return sent


@pytest.mark.parametrize("threads", [1, 4])
def test_state_survives_kills(
    threads: int, make_rig: Callable[..., Rig], sizes: Sizes, note: Callable[[object], None]
) -> None:
    rig = make_rig("counting", threads=threads)
    rig.start()
    total = min(sizes.messages, 1000)
    rig.flow(total)
    for point in rig.moments(total, sizes.kills):
        rig.wait_distinct(point)
        rig.pause()
        rig.worker.kill()
    found = rig.collect()
    found.expect_all(in_order=True)
    rig.worker.kill()
    sent = wait_counted(rig, total)
    last = json.loads(rig.results[-1].payload)
    note(f"{rig.worker.crashes} kills, {last['calls']} calls counted for {sent} messages")
    if threads == 1:
        # More only by those that came twice.
        assert sent <= last["calls"] <= sent + 300 * sizes.kills


def test_a_disk_that_can_not_be_written_holds_up_no_model_with_a_state(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig("counting", threads=2)
    disk = StateDisk(rig, 1024)
    rig.start()
    rig.feed.send(100)
    rig.wait_distinct(100)
    disk.fill()
    rig.flow(2000)
    rig.worker.wait_log("context.state is kept in memory")
    rig.wait_distinct(2000)
    disk.resize(64 * 1024)
    rig.worker.wait_log("context.state is on disk again")
    found = rig.collect()
    found.expect_all(in_order=True)
    # All of it, as the next process finds it.
    rig.worker.kill()
    wait_counted(rig, 2100)
    assert rig.worker.crashes == 1


def test_rolling_mean_goes_on_after_a_kill(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same", options={"window": 4})
    rig.edge["edge_mode"] = "pyboot_svc.models.telemetry.telm_temperature"
    rig.start()

    def mean_after(*values: float) -> Any:
        before = len(rig.results)
        for value in values:
            reading = {"device": "pump-7", "value": value, "unit": "C"}
            rig.feed.publish(json.dumps(reading).encode())
        until(lambda: len(rig.results) >= before + len(values), "the results")
        result = json.loads(rig.results[-1].payload)
        return result["count"], result["mean"]

    assert mean_after(10, 20, 30) == (3, 20)
    rig.until_figure("unacknowledged", 0)
    rig.worker.kill()
    assert mean_after(40) == (4, 25)
    assert rig.worker.stop() == 0
    rig.worker.start()
    assert mean_after(50) == (4, 35)
