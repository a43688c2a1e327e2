"""FastStream with its MQTT broker (zmqtt), on uvloop.

Best settings: no logging, no validation of types (`apply_types=False`), bytes in and out, 20
workers at QoS 1. With `AckPolicy.ACK` an input is acknowledged when its handler has ended, and
that is when its result's PUBACK has come.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from faststream import AckPolicy
from faststream.mqtt import MQTTBroker
from work import IN, OUT, arguments

_WORKERS = 20


async def main() -> None:
    port, qos, work = arguments()
    broker = MQTTBroker(f"mqtt://127.0.0.1:{port}", logger=None, apply_types=False)

    async def handle(body: Any) -> None:
        await broker.publish(work(body), OUT, qos=qos)

    async def raw(message: Any) -> Any:
        return message.body

    broker.subscriber(
        IN,
        qos=qos,
        max_workers=_WORKERS if qos else 1,
        ack_policy=AckPolicy.ACK,
        no_reply=True,
        decoder=raw,
    )(handle)
    async with broker:
        await broker.start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
