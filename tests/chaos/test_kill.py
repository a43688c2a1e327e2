"""A worker that is killed at random moments loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from support.app import Up
from support.poll import until

from chaos.conftest import Sizes
from chaos.counted import count
from chaos.rig import Rig


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize("qos", [1, 2])
def test_killed_worker_loses_nothing(
    qos: int,
    threads: int,
    make_rig: Callable[..., Rig],
    sizes: Sizes,
    note: Callable[[object], None],
) -> None:
    rig = make_rig("same", pre_qos=qos, post_qos=qos, threads=threads)
    rig.start()
    rig.flow(sizes.messages)
    for point in rig.moments(sizes.messages, sizes.kills):
        rig.wait_distinct(point)
        rig.pause()
        rig.worker.kill()
    found = rig.collect()
    note(f"{rig.worker.crashes} kills, {found}")
    found.expect_all(in_order=True)
    assert rig.worker.exit_codes == [-signal.SIGKILL] * sizes.kills


@pytest.mark.parametrize("qos", [1, 2])
def test_two_instances_that_share_lose_nothing(
    qos: int, make_rig: Callable[..., Rig], sizes: Sizes, note: Callable[[object], None]
) -> None:
    rig = make_rig("same", pre_qos=qos, instance=2, threads=2)
    rig.start()
    rig.flow(sizes.messages)
    for point in rig.moments(sizes.messages, sizes.kills):
        rig.wait_distinct(point)
        rig.pause()
        rig.chance.choice(rig.workers).kill()
    found = rig.collect()
    note(f"{sum(worker.crashes for worker in rig.workers)} kills, {found}")
    found.expect_all()


def test_killed_under_pyboot_up(make_rig: Callable[..., Rig], sizes: Sizes) -> None:
    """As a user runs it: `pyboot up` starts the workers again, with its own patience."""
    rig = make_rig("same")
    rig.start()
    rig.worker.kill_for_good()
    up = Up(rig.folder / "up", rig.config, "--state-dir", str(rig.state_dir), ready=False)
    rig.stack.callback(up.close)
    up.wait_ready()
    name = f"{rig.name}-1"
    rig.flow(1000)
    for point in rig.moments(1000, 3):
        rig.wait_distinct(point)
        pid = up.instance(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: up.instance(name).get("pid") not in (None, pid), "started again")  # type: ignore[misc]
    rig.feed.finish()
    rig.wait_distinct(1000)
    found = count(range(1000), rig.results)
    found.expect_all(in_order=True)
