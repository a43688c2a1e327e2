"""The system that pyboot reimplements, with what each message cost there.

Two clients of paho-mqtt 1.5, with Nagle's algorithm, since nobody turned it off. Inputs are
acknowledged when they arrive and go through a queue to ten threads, through another one to the
thread that publishes; who waits for a queue does so with a timeout. JSON is the standard
library's. Each packet and each step is a record for a logger that lets all levels pass, and is
dropped by its handler.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from queue import Queue
from typing import Any

from paho.mqtt.client import Client
from work import IN, OUT, statistics_of

_THREADS = 10
_CAPACITY = 1000
_PATIENCE_SECONDS = 120

log = logging.getLogger()


def main() -> None:
    port, qos, computes = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "compute"
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    before: Queue[str] = Queue(_CAPACITY)
    after: Queue[Any] = Queue(_CAPACITY)

    def take_in(client: Client, userdata: Any, message: Any) -> None:
        text = message.payload.decode()
        log.debug(f"arrived: {text}")
        before.put(text, timeout=_PATIENCE_SECONDS)

    def process() -> None:
        while True:
            text = before.get(timeout=_PATIENCE_SECONDS)
            result = statistics_of(json.loads(text)) if computes else text
            after.put(result, timeout=_PATIENCE_SECONDS)

    def publish() -> None:
        while True:
            result = after.get(timeout=_PATIENCE_SECONDS)
            log.debug(f"to be published: {result}")
            post.loop_start()  # each time: paho looks whether it is running
            post.publish(OUT, json.dumps(result) if computes else result, qos)
            log.debug(f"published: {result}")

    pre, post = Client(), Client()
    pre.on_connect = lambda client, *_: client.subscribe(IN, qos)
    pre.on_message = take_in
    for client in (post, pre):
        client.on_log = lambda client, userdata, level, text: log.debug(text)
        client.connect("127.0.0.1", port)
    for target in [process] * _THREADS + [publish]:
        threading.Thread(target=target, daemon=True).start()
    pre.loop_forever()


if __name__ == "__main__":
    main()
