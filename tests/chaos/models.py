"""The models under test; what they do at which numbers stands in their options."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from pyboot_svc.model import Context


def same(payload: Any) -> Any:
    return payload


def slow(payload: Any, context: Context) -> Any:
    time.sleep(context.options["seconds"])
    return payload


def lethal(payload: Any, context: Context) -> Any:
    """Ends its process at some numbers, in the way that the options say."""
    if payload["n"] in context.options["at"]:
        _end(context.options["how"])
    time.sleep(context.options.get("seconds", 0))
    return payload


def _end(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "memory":
        # As the kernel does when memory runs out: without a word, and not to be caught.
        os.kill(os.getpid(), signal.SIGKILL)
    os.abort()


def hanging(payload: Any, context: Context) -> Any:
    if payload["n"] % context.options["every"] == 0:
        time.sleep(10_000)
    return payload


def burning(payload: Any, context: Context) -> Any:
    while payload["n"] in context.options["at"]:
        pass
    return payload


def failing(payload: Any, context: Context) -> Any:
    """Raises at some numbers, as long as the file `gate` isn't there."""
    gate = context.options["gate"]
    if payload["n"] in context.options["at"] and not os.path.exists(gate):
        Path(f"{gate}.tried").touch()
        if context.options.get("bad_value"):
            raise ValueError("no such reading")
        raise OSError("no luck today")
    return payload


def failing_raw(payload: bytes) -> bytes:
    raise RuntimeError("no bytes, please")


def counting(payload: Any, context: Context) -> Any:
    """Counts the calls, and remembers each number, in its durable state."""
    calls = context.state.get("calls", 0) + 1
    context.state["calls"] = calls
    context.state[f"seen-{payload['n']}"] = True
    return {**payload, "calls": calls, "seen": len(context.state) - 1}


class Several:
    """Publishes each message on three topics, counts them by device, and ticks."""

    def __call__(self, payload: Any, context: Context) -> Any:
        base, device = context.options["base"], f"device {payload['device']}"
        seen = context.state[device] = context.state.get(device, 0) + 1
        result = {**payload, "seen": seen}
        context.publish(result, f"{base}/a")
        context.publish(result, f"{base}/b")
        return result

    def tick(self, context: Context) -> Any:
        ticks = context.state["ticks"] = context.state.get("ticks", 0) + 1
        tick = {"tick": ticks, "instance": context.instance}
        context.publish(tick, f"{context.options['base']}/ticks")


def gated(payload: Any, context: Context) -> Any:
    """Waits for the file `gate`."""
    while not os.path.exists(context.options["gate"]):
        time.sleep(0.01)
    return payload
