"""Plain paho-mqtt: `on_message` publishes.

Best settings: MQTT 3.1.1 (no properties to encode), TCP_NODELAY, one thread in `loop_forever`, the
default of 20 messages in flight (more makes each PUBACK slower). At QoS 1 by `manual_ack`: an input
is acknowledged when its result's PUBACK has come, in the order of arrival.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from work import IN, OUT, arguments


def main() -> None:
    port, qos, work = arguments()
    client = Client(CallbackAPIVersion.VERSION2, manual_ack=qos > 0)
    waiting: deque[tuple[int, int]] = deque()  # mid of the result, mid of the input
    published: set[int] = set()

    def on_message(client: Client, _: Any, message: MQTTMessage) -> None:
        info = client.publish(OUT, work(message.payload), qos)
        if qos:
            waiting.append((info.mid, message.mid))

    def on_publish(client: Client, _: Any, mid: int, *more: Any) -> None:
        published.add(mid)
        while waiting and waiting[0][0] in published:
            result, source = waiting.popleft()
            published.remove(result)
            client.ack(source, qos)

    client.on_connect = lambda client, *_: client.subscribe(IN, qos)
    client.on_message = on_message
    if qos:
        client.on_publish = on_publish
    client.on_socket_open = lambda client, _, opened: opened.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main()
