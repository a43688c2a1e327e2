"""SIGTERM: what is in hand is finished, what can't be published is spooled; exit 0."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Running
from support.poll import until

from chaos.conftest import Sizes
from chaos.rig import Rig

DRAIN_SECONDS = 10


def test_stopped_while_the_post_broker_is_away(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("slow", threads=4, options={"seconds": 0.001})
    rig.start()
    rig.post.stop()
    rig.feed.send(1000)
    rig.until_figure("counters", lambda counters: counters["processed"] >= 100)
    assert rig.worker.stop(DRAIN_SECONDS + 5) == 0
    assert rig.worker.log.rstrip().endswith("stopped")
    rig.worker.start()
    rig.until_figure("spooled", lambda depth: depth >= 100)
    rig.post.start()
    found = rig.collect()
    found.expect_all(in_order=True)


def test_stopped_again_and_again_in_full_flow(
    make_rig: Callable[..., Rig], sizes: Sizes, note: Callable[[object], None]
) -> None:
    rig = make_rig("same", threads=4)
    rig.start()
    rig.flow(sizes.messages)
    for starts, point in enumerate(rig.moments(sizes.messages, sizes.kills), 1):
        rig.wait_distinct(point)
        rig.pause()
        rig.wait_start(starts)
        assert rig.worker.stop(DRAIN_SECONDS + 5) == 0
        rig.worker.start()
    found = rig.collect()
    note(f"{sizes.kills} stops, {found}")
    found.expect_all(in_order=True)


def test_model_that_never_ends_does_not_hold_the_stop_up(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("hanging", options={"every": 10_000})
    rig.start()
    rig.feed.send(100)  # 0 hangs, the rest waits behind it
    until(lambda: rig.figures()["unacknowledged"] == 100, "all have arrived")
    assert rig.worker.stop(DRAIN_SECONDS + 5) == 0
    assert "stopped with 100 messages unfinished" in rig.worker.log
    # It was no crash: nothing is suspected.
    rig.worker.start()
    rig.wait_start(2)
    assert "died with" not in rig.worker.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_before_it_has_read_its_configuration(
    number: signal.Signals, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)  # it waits there
    worker = Running(tmp_path, "worker", "test-1", "--config", str(config))
    try:
        status = Path(f"/proc/{worker.pid}/status")
        mask = 1 << (signal.SIGTERM - 1)
        until(lambda: mask & int(status.read_text().split("SigCgt:")[1].split()[0], 16), "ready")
        assert worker.stop(number) == 0
    finally:
        worker.close()
