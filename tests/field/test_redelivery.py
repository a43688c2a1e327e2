"""Brokers that send again, by the same connection, what is not acknowledged soon enough.

NanoMQ does so after some seconds, as old mosquitto did; a model may take longer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.poll import until
from support.stub import CONNACK, PUBACK, PUBLISH, StubBroker, publish, suback
from support.workers import Workers

PUBREC = 5
DUP = 0x08
MODELS = """
import time
from pathlib import Path

def gated(payload, context):
    '''Waits for a file to appear.'''
    while not Path(context.options["gate"]).exists():
        time.sleep(0.01)
    return payload
"""


def numbers(stub: StubBroker) -> list[bytes]:
    """The results, which have one digit."""
    return [packet.rest[-1:] for packet in stub.of_kind(PUBLISH)]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_comes_again_while_it_is_in_hand_is_acknowledged_once(
    run: Callable[..., Workers], tmp_path: Path, qos: int, protocol: str
) -> None:
    """A second acknowledgement would be for the next message of that number."""
    v5 = protocol == "5"
    gate = tmp_path / "gate"
    acknowledgement = PUBACK if qos == 1 else PUBREC
    connack = CONNACK if v5 else b"\x20\x02\0\0"

    def message(digit: bytes, mid: int, flags: int = 0) -> bytes:
        return publish("t/in", digit, qos, mid, v5=v5, flags=flags)

    with StubBroker(subscribe=lambda packet: suback(packet.mid, v5=v5), connack=connack) as stub:
        keys = {"edge_mode": "my_models.gated", "options": f'{{gate: "{gate}"}}', "post_qos": 0}
        app = run(stub.port, protocol, **keys)
        session = stub.of_kind(8)[0].connection

        def received(count: int) -> bool:
            return bool(app.instance("m-1")["counters"]["received"] == count)

        def acknowledged() -> list[int]:
            return [packet.mid for packet in stub.of_kind(acknowledgement)]

        stub.send(message(b"1", 7), session)
        until(lambda: received(1), "the first has come")
        stub.send(message(b"1", 7, DUP) + message(b"2", 8) + message(b"2", 8, DUP), session)
        until(lambda: received(2), "the second has come")
        gate.touch()
        until(lambda: len(acknowledged()) == 2, "both are acknowledged")
        stub.send(message(b"3", 7), session)
        until(lambda: len(acknowledged()) == 3, "the next of that number is acknowledged")
        assert acknowledged() == [7, 8, 7]
        until(lambda: len(numbers(stub)) == 3, "all results")
        assert numbers(stub) == [b"1", b"2", b"3"]


def test_what_comes_again_by_another_connection_is_taken(
    run: Callable[..., Workers], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with StubBroker(subscribe=lambda packet: suback(packet.mid)) as stub:
        options = f'{{gate: "{gate}"}}'
        app = run(stub.port, edge_mode="my_models.gated", options=options, post_qos=0)
        session = stub.of_kind(8)[0].connection
        stub.send(publish("t/in", b"1", 1, 7), session)
        until(lambda: app.instance("m-1")["counters"]["received"] == 1, "it has come")
        stub.hang_up(session)
        until(lambda: len(stub.of_kind(8)) == 2, "a new connection")
        again = stub.of_kind(8)[1].connection
        stub.send(publish("t/in", b"1", 1, 7, flags=DUP), again)
        until(lambda: app.instance("m-1")["counters"]["received"] == 2, "it has come again")
        gate.touch()
        until(lambda: stub.of_kind(PUBACK), "it is acknowledged")
        assert [(packet.connection, packet.mid) for packet in stub.of_kind(PUBACK)] == [(again, 7)]
