"""Carries out a plan: touches only what differs, and rolls, one ready instance at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from pyboot_svc.identity import InstanceId
from pyboot_svc.services.host import HostManager
from pyboot_svc.services.plan import RESTART, START, STOP, UNCHANGED, Plan, Wanted, is_partitioned
from pyboot_svc.services.readiness import Say, check_at_work, wait_ready


@dataclass(frozen=True)
class Roll:
    """How a plan is carried out: each instance may take `wait_seconds` to become ready.

    `say` is told what is begun, in words, and `done` which instances are as they are to be.
    """

    wait_seconds: float
    wait_for_new: bool
    say: Say
    done: Callable[[Sequence[InstanceId]], None] = lambda instances: None


def apply_plan(plan: Plan, wanted: Sequence[Wanted], manager: HostManager, roll: Roll) -> None:
    """Bring the host to `wanted`.

    Order: what is gone stops; units are written, with one reload of the manager; what is new
    starts; what changed restarts, within one model one after the other; what is unchanged is looked
    at. Of models whose instances have a part of the input each, what is new is ready before the
    others leave its part to it, and what is gone stops after they have taken its part over.
    A compiled file is replaced just before its instance restarts, so that those that a failure
    leaves alone keep on running, and restarting, as they were. Raises NotReady.
    """
    by_identity = {item.identity: item for item in wanted}
    partitioned = {item.identity.model for item in wanted if is_partitioned(item.compiled)}
    gone = [identity for identity in plan.of(STOP) if identity.model not in partitioned]
    taken_over = [identity for identity in plan.of(STOP) if identity.model in partitioned]
    _stop(gone, manager, roll)
    manager.write_units(wanted, gone)
    for identity in plan.of(UNCHANGED):
        # What makes no difference to what runs, as `instance`, counts at its next start.
        manager.write_compiled(by_identity[identity])
    _begin(manager.start, plan.of(START), by_identity, manager, roll.say, "starting")
    first = [identity for identity in plan.of(START) if identity.model in partitioned]
    if first and plan.of(RESTART):
        _wait(first, manager, roll)
    _restart(plan.of(RESTART), by_identity, manager, roll)
    if taken_over:
        _stop(taken_over, manager, roll)
        manager.write_units(wanted, taken_over)
    if roll.wait_for_new:
        # After the restarts: what is new must not keep them waiting.
        _wait(plan.of(START), manager, roll)
        check_at_work(plan.of(UNCHANGED), manager)


def _stop(gone: Sequence[InstanceId], manager: HostManager, roll: Roll) -> None:
    if gone:
        roll.say(f"stopping {_names(gone)}")
        # First the word: a worker that knows that it is stopped for good ends its session, too.
        manager.retire(gone)
        manager.stop(gone)
        roll.done(gone)


def _restart(
    instances: Sequence[InstanceId],
    wanted: Mapping[InstanceId, Wanted],
    manager: HostManager,
    roll: Roll,
) -> None:
    states = manager.states(instances)
    running = []
    for identity in instances:
        if states[identity].stopped:
            # Somebody stopped it on purpose: it gets its new configuration, and stays down.
            manager.write_compiled(wanted[identity])
            roll.say(f"{identity} is stopped and stays stopped")
            roll.done([identity])
        else:
            running.append(identity)
    worked = {identity for identity in running if states[identity].works}
    for wave in _waves(running):
        _begin(manager.restart, wave, wanted, manager, roll.say, "restarting")
        _wait(wave, manager, roll, worked)


def _begin(
    verb: Callable[[Sequence[InstanceId]], None],
    instances: Sequence[InstanceId],
    wanted: Mapping[InstanceId, Wanted],
    manager: HostManager,
    say: Say,
    text: str,
) -> None:
    if not instances:
        return
    for identity in instances:
        manager.write_compiled(wanted[identity])
    say(f"{text} {_names(instances)}")
    verb(instances)


def _waves(instances: Sequence[InstanceId]) -> list[list[InstanceId]]:
    """One instance of each model at a time: models don't wait for each other."""
    models: dict[str, list[InstanceId]] = {}
    for identity in instances:
        models.setdefault(identity.model, []).append(identity)
    return [[i for i in wave if i is not None] for wave in zip_longest(*models.values())]


def _wait(
    instances: Sequence[InstanceId],
    manager: HostManager,
    roll: Roll,
    worked: Collection[InstanceId] = (),
) -> None:
    waiting = wait_ready(instances, manager, roll.wait_seconds, roll.say, worked)
    for identity, why in waiting.items():
        roll.say(f"warning: {identity} has started and is waiting: {why}")
    roll.done(instances)


def _names(instances: Sequence[InstanceId]) -> str:
    return ", ".join(map(str, instances))
