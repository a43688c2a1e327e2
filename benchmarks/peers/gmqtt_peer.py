"""gmqtt on uvloop.

Best settings: MQTT 3.1.1, a plain function as callback (a coroutine would be a task a message); so
it acknowledges an input when it arrives. With the argument `late` it does so when the result is
sent, which takes a coroutine. It couldn't wait for a result's PUBACK in any case: its `publish`
doesn't say when that comes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import gmqtt
import uvloop
from gmqtt.mqtt.constants import MQTTv311
from work import IN, OUT, arguments


async def main() -> None:
    port, qos, work = arguments()
    late = qos > 0 and "late" in sys.argv

    def on_message(client: gmqtt.Client, topic: str, payload: bytes, *_: Any) -> int:
        client.publish(OUT, work(payload), qos=qos)
        return 0

    async def on_message_late(*message: Any) -> int:
        return on_message(*message)

    client = gmqtt.Client("gmqtt", optimistic_acknowledgement=not late)
    client.on_connect = lambda client, *_: client.subscribe(IN, qos=qos)
    client.on_message = on_message_late if late else on_message
    await client.connect("127.0.0.1", port, version=MQTTv311)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
