"""The design of the system that pyboot reimplements, with better settings: see original.py.

paho-mqtt 1.5, two clients, two queues, ten threads; inputs are acknowledged when they arrive. With
TCP_NODELAY, without which QoS 1 ends at some 1,500 messages a second, orjson, and no log.
"""

from __future__ import annotations

import socket
import threading
from queue import Queue
from typing import Any

from paho.mqtt.client import Client
from work import IN, OUT, arguments

_THREADS = 10


def main() -> None:
    port, qos, work = arguments()
    before: Queue[bytes] = Queue()
    after: Queue[bytes] = Queue()

    def process() -> None:
        while True:
            after.put(work(before.get()))

    def publish() -> None:
        while True:
            post.publish(OUT, after.get(), qos)

    pre, post = Client(), Client()
    pre.on_connect = lambda client, *_: client.subscribe(IN, qos)
    pre.on_message = lambda client, _, message: before.put(message.payload)
    for client in (post, pre):
        client.on_socket_open = _no_delay
        client.connect("127.0.0.1", port)
    for target in [process] * _THREADS + [publish]:
        threading.Thread(target=target, daemon=True).start()
    post.loop_start()
    pre.loop_forever()


def _no_delay(client: Client, _: Any, opened: socket.socket) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    main()
