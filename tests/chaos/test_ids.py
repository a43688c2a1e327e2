"""Duplicates can be recognised: a result's id comes from its input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from chaos.conftest import Sizes
from chaos.rig import Rig


def test_result_has_the_same_id_each_time_it_is_computed(
    make_rig: Callable[..., Rig], sizes: Sizes
) -> None:
    # Slow, so that kills find many results computed and not acknowledged yet.
    rig = make_rig("slow", threads=4, options={"seconds": 0.001})
    rig.start()
    rig.flow(sizes.messages)
    for point in rig.moments(sizes.messages, sizes.kills):
        rig.wait_distinct(point)
        rig.worker.kill()
    found = rig.collect()
    found.expect_all()
    assert found.duplicates > 0
    ids = defaultdict(set)
    for arrival in rig.results:
        ids[arrival.number].add(arrival.user["pyboot-id"])
    assert {len(each) for each in ids.values()} == {1}
    assert len(set.union(*ids.values())) == sizes.messages


def test_result_keeps_its_id_on_the_way_through_the_spool(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same")
    rig.start()
    rig.feed.publish(b'{"n": 1}')
    rig.wait_distinct(1)
    rig.post.stop()
    rig.feed.publish(b'{"n": 1}')
    rig.feed.publish(b'{"n": 2}')
    rig.until_figure("spooled", 2)
    rig.post.start()
    rig.wait_distinct(2)
    direct, spooled, other = (arrival.user["pyboot-id"] for arrival in rig.results)
    assert direct == spooled != other
