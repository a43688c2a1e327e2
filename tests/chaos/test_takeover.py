"""An instance runs on two hosts: said clearly, nothing lost, and no war of reconnects.

A broker may tell the one that is thrown out (MQTT 5, reason 0x8E); mosquitto 2.0.11 closes its
connection without a word, as every broker does by MQTT 3.1.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.poll import until
from support.proxy import Server

from chaos.rig import Rig

CONNACK = b"\x20\x03\x00\x00\x00"
TAKEN_OVER = b"\xe0\x02\x8e\x00"


class Ousting(Server):
    """Lets everybody in, and throws them out by telling why."""

    connects = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        self.connects += 1
        writer.write(CONNACK + TAKEN_OVER)
        await writer.drain()
        await reader.read()


def test_told_that_it_was_thrown_out_it_keeps_away(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same")
    with Ousting() as broker:
        rig.edge["pre_port"] = broker.port
        rig.start(subscribed=False)
        rig.worker.wait_log(
            f"another client took over the session pyboot-{rig.name}-1: is it running twice?"
        )
        # With the usual patience it would be back within half a second.
        row = rig.figures()
        rig.until_figure("uptime_s", lambda uptime: uptime > row["uptime_s"] + 3)
        assert broker.connects <= 3


def test_two_of_one_id_lose_nothing_and_say_what_is_wrong(
    make_rig: Callable[..., Rig], note: Callable[[object], None]
) -> None:
    rig = make_rig("same")
    rig.start()
    other = rig.keeper(f"{rig.name}-1", rig.folder / "elsewhere")
    other.start()
    rig.flow(2000)
    hint = f"does another client use the id pyboot-{rig.name}-1, is it running twice?"
    until(lambda: hint in rig.worker.log + other.log, "one of them says it", 60)
    connects = [log.count("subscribed to") for log in (rig.worker.log, other.log)]
    assert other.stop() == 0
    found = rig.collect(90)
    note(f"{connects[0]} and {connects[1]} connects until it was said, {found}")
    found.expect_all()
    assert sum(connects) <= 12
    assert rig.worker.exit_codes == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_session_forgets_the_topic_that_was_configured_before(
    protocol: str, make_rig: Callable[..., Rig]
) -> None:
    rig = make_rig("same", pre_broker="pre", instance=1)
    del rig.edge["pre_port"]
    rig.brokers = {"pre": {"host": "127.0.0.1", "port": rig.pre.port, "protocol": protocol}}
    rig.start()
    rig.feed.send(5)
    rig.collect()
    assert rig.worker.stop() == 0
    rig.feed.send(5)  # what the session holds already still comes
    rig.edge["pre_topic"] = new_topic = f"{rig.name}/new"
    rig.configure()
    rig.worker.start()
    rig.wait_start(2)
    for number in (100, 101):
        rig.feed.publish(b'{"n": %d}' % number, rig.topic_in)
        rig.feed.publish(b'{"n": %d}' % (number + 100), new_topic)
    rig.wait_distinct(12)
    numbers = [arrival.number for arrival in rig.results]
    assert numbers == [*range(10), 200, 201]


def test_what_the_session_holds_can_not_be_noted(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("same")
    (rig.instance_dir / "subscribed").mkdir(parents=True)
    rig.start()
    rig.feed.send(5)
    rig.collect().expect_all(in_order=True)
    rig.worker.wait_log("subscribed can't be written: Is a directory")
