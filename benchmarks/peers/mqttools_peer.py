"""mqttools on uvloop; it knows QoS 0 alone.

Best settings: its `on_message` overridden, so that no queue lies between reading and publishing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import mqttools
import uvloop
from work import IN, OUT, arguments


class Worker(mqttools.Client):
    def __init__(self, port: int, work: Callable[[bytes], bytes]) -> None:
        super().__init__("127.0.0.1", port, subscriptions=[IN])
        self._work = work

    async def on_message(self, message: mqttools.Message) -> None:
        self.publish(mqttools.Message(OUT, self._work(message.message)))


async def main() -> None:
    port, _, work = arguments()
    async with Worker(port, work):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
