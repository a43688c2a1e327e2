"""Tells when a device stops speaking, and when it speaks again."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from pyboot_svc.model.context import MOST_RESULTS
from pyboot_svc.models._options import Options
from pyboot_svc.models._population import Population
from pyboot_svc.models._reading import device_of, publish_or_log

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context


# Lower-case, since `edge_mode` names it as a function.
class silence_alarm:
    """Raises an alarm when a device has sent nothing for a while. Needs `every`, as in `every: 5s`.

    In:  any message. The device is `device` (also `device_id`, `sensor`, `sensor_id`) of an object,
         or the topic that it came by.
    Out: `{"device", "state", "previous", "last", "silent_s"}` when the state changes. `state` is
         `speaking` or `silent`; `last` is when the last message before that came, ISO 8601, null
         where nobody remembers; `silent_s` how long ago that was, in seconds.

    Options: `after`, seconds of silence (default 300); `max_devices` that are remembered (default
    10000): the one not heard for longest is forgotten; `devices` to take, as in
    `[pump-1, "boiler-*"]`: a message of any other is an error.

    A device is known from its first message on. Silence is measured by the monotonic clock and
    while the worker runs: a clock that is set raises no alarm, and after a restart each device has
    `after` seconds to speak. What is silent is kept over restarts.
    """

    def __init__(self, context: Context) -> None:
        options = Options(context.options)
        self._after = options.number("after", 300.0, "a number above 0", lambda value: value > 0)
        self._population = Population(options, context.logger)
        options.done()
        now = time.monotonic()
        # When each was heard last: by the monotonic clock, and in words.
        self._heard: OrderedDict[str, tuple[float, str | None]] = OrderedDict(
            (device, (now, None)) for device in context.state
        )
        self._lock = Lock()

    def __call__(self, payload: Any, context: Context) -> None:
        payloads = payload if isinstance(payload, list) else [payload]
        devices = dict.fromkeys(device_of(one, context.topic) for one in payloads)
        for device in devices:
            self._population.admit(device)
        now, moment = time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            for device in devices:
                since, last = self._heard.get(device, (now, None))
                self._heard[device] = now, moment
                self._heard.move_to_end(device)
                if device not in context.state:
                    context.state[device] = "speaking"
                    self._forget(context)
                elif context.state[device] == "silent":
                    context.publish(_changed(context, device, "speaking", last, now - since))

    def tick(self, context: Context) -> None:
        now, room = time.monotonic(), MOST_RESULTS
        with self._lock:
            for device, (since, last) in self._heard.items():
                if now - since < self._after or not room:
                    return  # those behind it were heard later, or the next tick goes on
                if context.state.get(device) == "speaking":
                    room -= 1
                    publish_or_log(context, _changed(context, device, "silent", last, now - since))

    def _forget(self, context: Context) -> None:
        while len(self._heard) > self._population.most:
            device, _ = self._heard.popitem(last=False)
            context.state.pop(device, None)
            self._population.forgot(device)


def _changed(
    context: Context, device: str, state: str, last: str | None, seconds: float
) -> dict[str, Any]:
    previous = context.state[device]
    context.state[device] = state
    told = {"state": state, "previous": previous, "last": last, "silent_s": round(seconds, 3)}
    return {"device": device, **told}
