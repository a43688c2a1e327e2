"""From what was measured to what a rate of arrival needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyboot_svc.bench.stages import StageCosts

# What an instance is given to do, of what it could: the rest takes bursts and catches up.
USABLE = 0.7
# What doesn't bring at least this isn't worth a thread, and may be chance.
_WORTH = 1.3
_NEARLY_ALL = 0.9
_MOSTLY = 0.5


@dataclass(frozen=True)
class Need:
    """So many instances with so many threads each; `cores` of CPU are what all of them use."""

    rate: float
    instances: int
    threads: int
    cores: float


def sustained(thread_rates: dict[int, float], costs: StageCosts) -> dict[int, float]:
    """Messages/s of a whole instance by its threads: the network's part is added to the model's.

    As if the two took turns, which they do where the GIL keeps them apart; without one it is the
    least that can be expected.
    """
    network = (costs.cpu_us["read"] + costs.cpu_us["write"]) / 1e6
    return {threads: 1 / (1 / rate + network) for threads, rate in thread_rates.items()}


def best_threads(rates: dict[int, float]) -> int:
    """The fewest that bring nearly all that any number brings."""
    most = max(rates.values())
    if most < _WORTH * rates[1]:
        return 1
    return min(threads for threads, rate in rates.items() if rate >= _NEARLY_ALL * most)


def reason(rates: dict[int, float], costs: StageCosts, *, gil: bool) -> str:
    """Why that many. `gil` says whether the interpreter that measured has one."""
    gain = max(rates.values()) / rates[1]
    busy = costs.cpu_us["model"] / costs.wall_us + costs.disturbed
    waits = busy < _MOSTLY
    if gain < _WORTH:
        if waits:
            return "more threads gain nothing: while a call waits, it keeps the others waiting"
        cause = "the model holds the GIL" if gil else "its calls block each other"
        return f"more threads gain nothing: {cause}, or no core is free"
    if waits:
        return f"threads raise the rate {gain:.1f} times: {1 - busy:.0%} of a call is waiting"
    cause = "the model releases the GIL" if gil else "there is no GIL that keeps them apart"
    return f"threads raise the rate {gain:.1f} times: {cause}"


def need(rate: float, rates: dict[int, float], costs: StageCosts) -> Need:
    """The fewest instances for `rate` messages/s, then the fewest threads."""
    threads = best_threads(rates)
    instances = math.ceil(rate / (USABLE * rates[threads]))
    fewest = min(
        number
        for number, sustains in rates.items()
        if math.ceil(rate / (USABLE * sustains)) <= instances
    )
    return Need(rate, max(instances, 1), fewest, rate * sum(costs.cpu_us.values()) / 1e6)
