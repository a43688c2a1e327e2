"""Several results for each message, ticks, and instances that share by a key: none is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

from support.poll import until

from chaos.conftest import Sizes
from chaos.counted import DEVICES, Collector, count
from chaos.rig import Rig


def test_nothing_is_lost_by_kills(
    make_rig: Callable[..., Rig], sizes: Sizes, note: Callable[[object], None]
) -> None:
    rig = make_rig("Several", instance=2, share={"by": "device"}, every="200ms")
    rig.edge["options"] = {"base": rig.topic_out}
    # With all below it.
    rig.make_collector = lambda name, at, topic, dead: Collector(name, at, f"{topic}/#", dead)
    rig.start()
    rig.flow(sizes.messages)
    for number, point in enumerate(rig.moments(sizes.messages, sizes.kills)):
        rig.wait_distinct(point)
        rig.pause()
        rig.workers[number % 2].kill()
    rig.feed.finish()
    rig.wait_distinct(sizes.messages)
    topics = [f"{rig.topic_out}/a", f"{rig.topic_out}/b", rig.topic_out]

    def all_there() -> bool:
        found = [len({one.number for one in rig.collector.on(topic)}) for topic in topics]
        return found == [sizes.messages] * 3

    until(all_there, "all results on each topic", 60.0)
    for topic in topics:
        results = rig.collector.on(topic)
        found = count(range(sizes.messages), results, rig.letters)
        note(f"{topic.rpartition('/')[2]}: {found}")
        found.expect_all()
        for device in range(DEVICES):
            of_device = [one for one in results if json.loads(one.payload)["device"] == device]
            count(range(device, sizes.messages, DEVICES), of_device).expect_all(in_order=True)
    _expect_counts(rig)
    _expect_ticks(rig)


def _expect_counts(rig: Rig) -> None:
    """What each message found in the state: that of all before it, and of nobody else's."""
    counted: dict[int, list[int]] = {}
    for arrival in rig.collector.on(rig.topic_out):
        result = json.loads(arrival.payload)
        counted.setdefault(result["device"], []).append(result["seen"])
    for seen in counted.values():
        # One that comes twice may count twice; none goes back further than to what is not safe.
        assert sorted(set(seen)) == list(range(1, max(seen) + 1))


def _expect_ticks(rig: Rig) -> None:
    ticks = [json.loads(one.payload) for one in rig.collector.on(f"{rig.topic_out}/ticks")]
    for number in (1, 2):
        own = [tick["tick"] for tick in ticks if tick["instance"] == f"{rig.name}-{number}"]
        assert own
        assert all(after - before in (0, 1) for before, after in pairwise(own)), own
