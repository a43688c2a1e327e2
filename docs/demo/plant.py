"""A simulated plant: pumps that publish their temperature at a steady rate."""

from __future__ import annotations

import json
import math
import random
import threading
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

_PUMPS = 20
_BURSTS_A_SECOND = 50


class Plant:
    """Publishes `rate` messages a second to demo/temperature/PUMP until it is stopped.

    A pump's temperature swings about 60 °C with noise; now and then one runs hot for a while.
    """

    def __init__(self, port: int, rate: int) -> None:
        self._rate = rate
        self._stopping = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run)
        self.published = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        started = time.monotonic()
        while not self._stopping.wait(1 / _BURSTS_A_SECOND):
            elapsed = time.monotonic() - started
            while self.published < elapsed * self._rate:
                pump = self.published % _PUMPS
                self._client.publish(f"demo/temperature/pump-{pump}", _reading(pump, elapsed))
                self.published += 1


def _reading(pump: int, elapsed: float) -> str:
    value = 60 + 8 * math.sin(elapsed / 20 + pump) + random.gauss(0, 0.5)
    if pump == int(elapsed / 5) % _PUMPS and elapsed % 5 < 2:
        value += 30
    reading = {"device": f"pump-{pump}", "ts": time.time(), "temperature": round(value, 2)}
    return json.dumps(reading)
