"""Brokers that go and come back, connections that are cut: nothing is lost, order is kept.

The brokers are mosquitto with `persistence true`, ended by SIGTERM: on SIGTERM it writes all that
it holds (sessions, what is queued and in flight) to its file, so that it loses nothing itself.
SIGKILL would lose what mosquitto has acknowledged and keeps only in memory.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from support.broker import Broker
from support.poll import until
from support.proxy import Proxy

from chaos.conftest import Sizes
from chaos.releases import debian_13_mosquitto
from chaos.rig import Rig


def restart(rig: Rig, broker: Broker) -> None:
    """End a broker, leave it away for a moment, start it again."""
    broker.stop()
    rig.pause()
    broker.start()


@pytest.mark.parametrize(
    ("threads", "which", "release"),
    [
        *itertools.product([1, 4], ["post", "pre", "both"], ["own"]),
        (1, "both", "debian-13"),
    ],
)
def test_restarted_broker_costs_no_message(
    threads: int,
    which: str,
    release: str,
    make_rig: Callable[..., Rig],
    sizes: Sizes,
    note: Callable[[object], None],
) -> None:
    rig = make_rig("same", threads=threads)
    run_on(release, rig)
    rig.start()
    rig.flow(sizes.messages)
    brokers = {"post": [rig.post], "pre": [rig.pre], "both": [rig.pre, rig.post]}[which]
    for point in rig.moments(sizes.messages, sizes.broker_restarts):
        rig.wait_distinct(point)
        rig.pause()
        together = [threading.Thread(target=restart, args=(rig, broker)) for broker in brokers]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    found = rig.collect(120)
    note(f"{sizes.broker_restarts} restarts, {found}")
    found.expect_all(in_order=True)
    assert rig.worker.exit_codes == []


@pytest.mark.parametrize(
    ("protocol", "release"), [("5", "own"), ("5", "debian-13"), ("3.1.1", "debian-13")]
)
def test_restarted_broker_costs_instances_that_share_nothing_that_it_held(
    protocol: str,
    release: str,
    make_rig: Callable[..., Rig],
    sizes: Sizes,
    note: Callable[[object], None],
) -> None:
    """mosquitto keeps their sessions, and forgets their shared subscriptions: what it had taken
    before its end comes, and what it takes once they have subscribed anew."""
    rig = make_rig("same", instance=2)
    run_on(release, rig)
    rig.brokers = {"shared": {"host": "127.0.0.1", "port": rig.pre.port, "protocol": protocol}}
    rig.edge["pre_broker"] = "shared"
    del rig.edge["pre_port"]
    rig.start()
    share = sizes.messages // (sizes.broker_restarts + 1)
    for restarts in range(1, sizes.broker_restarts + 1):
        rig.feed.send(share)
        restart(rig, rig.pre)
        for number, worker in enumerate(rig.workers, 1):
            until(
                lambda worker=worker, restarts=restarts: (  # type: ignore[misc]
                    worker.log.count("subscribed to") > restarts
                ),
                f"instance {number} is subscribed again",
                90,
            )
    rig.feed.send(share)
    found = rig.collect(120)
    note(f"{sizes.broker_restarts} restarts, {found}")
    found.expect_all(in_order=False)
    for number, worker in enumerate(rig.workers, 1):
        counters = rig.figures(number)["counters"]
        assert counters["sessions_lost"] == 0
        assert counters["sessions_unsure"] >= sizes.broker_restarts
        assert worker.exit_codes == []


def run_on(release: str, rig: Rig) -> None:
    """Have another mosquitto than this host's own, for both brokers, if the release says so."""
    if release == "own":
        return
    for broker in (rig.pre, rig.post):
        broker.stop()
        broker.program = debian_13_mosquitto()
        broker.start()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("side", ["pre", "post"])
def test_connection_cut_in_the_middle_of_a_packet(
    side: str,
    protocol: str,
    make_rig: Callable[..., Rig],
    sizes: Sizes,
    note: Callable[[object], None],
) -> None:
    rig = make_rig("same", threads=2)
    with Proxy(getattr(rig, side).port) as proxy:
        rig.edge[f"{side}_port"] = proxy.port
        if protocol != "5":
            del rig.edge[f"{side}_port"]
            rig.edge[f"{side}_broker"] = "proxied"
            rig.brokers = {
                "proxied": {"host": "127.0.0.1", "port": proxy.port, "protocol": protocol}
            }
        rig.start()
        rig.flow(sizes.messages)
        connects = 1

        def done() -> bool:
            return rig.collector.distinct >= sizes.messages

        for point in rig.moments(sizes.messages, sizes.cuts):
            rig.wait_distinct(point)
            proxy.cut_after(rig.chance.randrange(1, 2000))
            # The last cut may find that all has passed already.
            until(lambda: not connected(rig, side) or done(), f"cut off from {side}")
            proxy.resume()
            if done():
                break
            connects += 1
            rig.until_figure(
                "brokers", lambda links, least=connects: links[side]["connects"] >= least
            )
        found = rig.collect(120)
    note(f"{connects - 1} cuts, {found}")
    found.expect_all(in_order=True)
    assert rig.worker.exit_codes == []


def connected(rig: Rig, side: str) -> bool:
    state: str = rig.figures()["brokers"][side]["state"]
    return state == "connected"
