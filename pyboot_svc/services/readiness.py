"""Waits until instances are ready, and says meanwhile what for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.host import BROKEN, STARTING, HostManager, UnitState

POLL_SECONDS = 0.2
# How long an instance with its model loaded may take to reach its brokers; less when it hadn't
# reached them before, either, so that a broker that is away holds up nobody.
_BROKER_SECONDS = 15.0
_AS_BEFORE_SECONDS = 5.0
MOMENT_SECONDS = 3.0
# Whoever waits for longer than this is told why, and again when the reason changes.
QUIET_SECONDS = 2.0

Say = Callable[[str], None]


class NotReady(UnavailableError):
    """An instance didn't become ready; those after it were left alone."""


def wait_ready(
    instances: Sequence[InstanceId],
    manager: HostManager,
    seconds: float,
    say: Say,
    worked: Collection[InstanceId] = (),
) -> dict[InstanceId, str]:
    """Wait until all are ready, or have their models loaded and wait for a broker or the like.

    Gives those that wait, with what for. Raises NotReady when one fails, takes longer than
    `seconds`, or is one of those that `worked` before and waits now.
    """
    began = time.monotonic()
    waiting: dict[InstanceId, str] = {}
    told: dict[InstanceId, str] = {}
    left = list(instances)
    while left:
        states = manager.states(left)
        lasted = time.monotonic() - began
        hopeless = [i for i in left if states[i].failed or states[i].hopeless]
        if hopeless:
            raise not_ready(hopeless, states, "failed")
        for identity in left:
            patience = _BROKER_SECONDS if identity in worked else _AS_BEFORE_SECONDS
            if states[identity].waiting and lasted >= min(patience, seconds):
                waiting[identity] = states[identity].waiting
        worse = [identity for identity in left if identity in waiting and identity in worked]
        if worse:
            raise not_ready(worse, states, "worked before and no longer does")
        left = [i for i in left if i not in waiting and not states[i].works]
        if left and lasted > seconds:
            raise not_ready(left, states, f"not ready within {seconds:.0f} s")
        if left:
            if lasted > QUIET_SECONDS:
                _tell(left, states, told, say)
            time.sleep(POLL_SECONDS)
    return waiting


def check_at_work(instances: Sequence[InstanceId], manager: HostManager) -> None:
    """Nothing was to be done with these, which doesn't say that they work; raises NotReady.

    One that is about to be up again, or busy for a moment, is given that moment.
    """
    deadline = time.monotonic() + MOMENT_SECONDS
    left = manager.suspects(instances)
    seen: dict[InstanceId, UnitState] = {}
    while True:
        states = manager.states(left)
        seen |= {identity: s for identity, s in states.items() if s.word in BROKEN}
        left = [identity for identity in left if states[identity].word in (*BROKEN, STARTING)]
        broken = [identity for identity in left if identity in seen]
        over = not left or time.monotonic() > deadline
        if broken and (over or any(seen[identity].failed for identity in broken)):
            raise not_ready(broken, seen, "unchanged, but not running", rest="")
        if over:
            return
        time.sleep(POLL_SECONDS)


def _tell(
    instances: Sequence[InstanceId],
    states: Mapping[InstanceId, UnitState],
    told: dict[InstanceId, str],
    say: Say,
) -> None:
    for identity in instances:
        why = states[identity].waiting or states[identity].detail
        if told.get(identity) != why:
            told[identity] = why
            say(f"waiting for {identity}: {why}")


def not_ready(
    instances: Sequence[InstanceId],
    states: Mapping[InstanceId, UnitState],
    why: str,
    rest: str = "; the remaining instances were not restarted",
) -> NotReady:
    lines = [f"  {i}: {states[i].waiting or states[i].detail}" for i in instances]
    advice = dict.fromkeys(states[identity].advice for identity in instances)
    head = f"{', '.join(map(str, instances))} {why}{rest}"
    return NotReady("\n".join([head, *lines, *filter(None, advice)]))
