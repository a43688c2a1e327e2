"""aiomqtt (paho-mqtt under asyncio) on uvloop.

Best settings: MQTT 3.1.1, TCP_NODELAY, and several tasks that await their publishes at once at
QoS 1. It acknowledges an input when it arrives.
"""

from __future__ import annotations

import asyncio
import socket

import aiomqtt
import uvloop
from work import IN, OUT, arguments

_TASKS = 20


async def main() -> None:
    port, qos, work = arguments()
    no_delay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    protocol = aiomqtt.ProtocolVersion.V311
    async with aiomqtt.Client(
        "127.0.0.1", port, protocol=protocol, socket_options=no_delay
    ) as client:
        await client.subscribe(IN, qos)

        async def serve() -> None:
            async for message in client.messages:
                await client.publish(OUT, work(message.payload), qos)

        await asyncio.gather(*[serve() for _ in range(_TASKS if qos else 1)])


if __name__ == "__main__":
    uvloop.run(main())
