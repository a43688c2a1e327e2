"""The order in which a plan is carried out, and where it stops."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pyboot_svc.config import InstanceConfig
from pyboot_svc.errors import ExitCode
from pyboot_svc.identity import InstanceId
from pyboot_svc.services import readiness
from pyboot_svc.services.apply import Roll, apply_plan
from pyboot_svc.services.host import UnitState
from pyboot_svc.services.plan import Applied, Wanted, make_plan
from pyboot_svc.services.readiness import NotReady

PUMP_1, PUMP_2, PUMP_3 = (InstanceId("pump", number) for number in (1, 2, 3))
FAN_1, FAN_2 = (InstanceId("fan", number) for number in (1, 2))
OLD, NEW = '{"options": 1}', '{"options": 2}'
READY = UnitState(ready=True, failed=False, stopped=False, detail="active (running)")
STARTING = UnitState(ready=False, failed=False, stopped=False, detail="activating (start)")
FAILED = UnitState(ready=False, failed=True, stopped=False, detail="failed: no such model")
FORBIDDEN = UnitState(
    ready=False,
    failed=False,
    stopped=False,
    detail="ends again and again: exit status 226",
    failing=True,
    hopeless=True,
    advice="write this drop-in",
)
CRASHING = replace(FORBIDDEN, detail="ends again and again", hopeless=False, advice="")
NO_PRE = replace(STARTING, waiting="pre broker nowhere:1883: unknown host nowhere")
NO_POST = replace(READY, waiting="post broker nowhere:1883: unknown host nowhere")
STOPPED = UnitState(ready=False, failed=False, stopped=True, detail="inactive (dead)")


class Host:
    """A service manager in memory: what is begun is starting at the first look, then as in `ends`.

    `log` has all that was asked for, in order, but looks.
    """

    def __init__(self, *running: InstanceId) -> None:
        self.files = dict.fromkeys(running, OLD)
        self.now = dict.fromkeys(running, READY)
        self.ends: dict[InstanceId, UnitState] = {}
        self.log: list[str] = []
        self.most_down = 0
        self.newest = NEW

    def render(self, instance: InstanceConfig) -> str:
        return "unit"

    def applied(self) -> Mapping[InstanceId, Applied]:
        return {identity: Applied(identity, text, "unit") for identity, text in self.files.items()}

    def states(self, instances: Sequence[InstanceId]) -> Mapping[InstanceId, UnitState]:
        seen = {identity: self.now[identity] for identity in instances}
        for identity, state in seen.items():
            if state is STARTING:
                self.now[identity] = self.ends.get(identity, READY)
        return seen

    def suspects(self, instances: Sequence[InstanceId]) -> list[InstanceId]:
        return list(instances)

    def tell_master(self, changes: bool) -> None:
        self.log.append("tell")

    def write_units(self, wanted: Sequence[Wanted], gone: Sequence[InstanceId]) -> None:
        self.log.append(f"units {_names([item.identity for item in wanted])}")
        for identity in gone:
            del self.files[identity]

    def write_compiled(self, wanted: Wanted) -> None:
        self.files[wanted.identity] = wanted.compiled

    def start(self, instances: Sequence[InstanceId]) -> None:
        self._begin("start", instances)

    def restart(self, instances: Sequence[InstanceId]) -> None:
        self._begin("restart", instances)

    def retire(self, instances: Sequence[InstanceId]) -> None:
        """Nothing of its own to remove."""

    def stop(self, instances: Sequence[InstanceId]) -> None:
        self.log.append(f"stop {_names(instances)}")

    def _begin(self, verb: str, instances: Sequence[InstanceId]) -> None:
        assert all(self.files[identity] == self.newest for identity in instances)
        self.log.append(f"{verb} {_names(instances)}")
        self.now.update(dict.fromkeys(instances, STARTING))
        for model in {identity.model for identity in instances}:
            down = [i for i, state in self.now.items() if i.model == model and state is not READY]
            self.most_down = max(self.most_down, len(down))


def _names(instances: Sequence[InstanceId]) -> str:
    return " ".join(map(str, instances))


def apply(
    host: Host,
    *wanted: InstanceId,
    changed: bool = True,
    wait_seconds: float = 10.0,
    wait_for_new: bool = True,
) -> list[str]:
    """Apply what makes the host run `wanted`; gives what was said."""
    items = [Wanted(identity, NEW if changed else OLD, "unit") for identity in wanted]
    said: list[str] = []
    plan = make_plan(items, host.applied())
    apply_plan(plan, items, host, Roll(wait_seconds, wait_for_new, said.append))
    return said


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BROKER_SECONDS", "_AS_BEFORE_SECONDS", "MOMENT_SECONDS", "POLL_SECONDS"):
        monkeypatch.setattr(readiness, name, 0.01)
    monkeypatch.setattr(readiness, "QUIET_SECONDS", -1.0)


def test_what_is_gone_stops_before_units_are_written_and_what_is_new_starts_before_rolls() -> None:
    host = Host(PUMP_1, FAN_1)
    said = apply(host, PUMP_1, PUMP_2)
    assert host.log == ["stop fan-1", "units pump-1 pump-2", "start pump-2", "restart pump-1"]
    assert said == ["stopping fan-1", "starting pump-2", "restarting pump-1"]
    assert host.files == {PUMP_1: NEW, PUMP_2: NEW}


def test_how_far_it_is_is_told() -> None:
    host = Host(PUMP_1, PUMP_2, FAN_1)
    said: list[str] = []
    finished: list[list[InstanceId]] = []
    host.now[PUMP_2] = STOPPED
    items = [Wanted(identity, NEW, "unit") for identity in (PUMP_1, PUMP_2, PUMP_3)]
    roll = Roll(10.0, True, said.append, lambda instances: finished.append([*instances]))
    apply_plan(make_plan(items, host.applied()), items, host, roll)
    assert finished == [[FAN_1], [PUMP_2], [PUMP_1], [PUMP_3]]


PARTS_OLD, PARTS_NEW = (
    json.dumps({"edge": {"partition": "device", "share": True, "instance": count}})
    for count in (2, 3)
)


def of_parts(host: Host, compiled: str, *wanted: InstanceId) -> list[str]:
    """Apply what gives each instance its part of the input."""
    items = [Wanted(identity, compiled, "unit") for identity in wanted]
    said: list[str] = []
    host.newest = compiled
    apply_plan(make_plan(items, host.applied()), items, host, Roll(10.0, True, said.append))
    return host.log


def test_a_new_part_is_taken_over_before_the_others_leave_it() -> None:
    host = Host(PUMP_1, PUMP_2)
    host.files = dict.fromkeys(host.files, PARTS_OLD)
    log = of_parts(host, PARTS_NEW, PUMP_1, PUMP_2, PUMP_3)
    assert log == ["units pump-1 pump-2 pump-3", "start pump-3", "restart pump-1", "restart pump-2"]
    # It is ready by then.
    assert host.most_down == 1


def test_a_part_is_taken_over_before_its_instance_stops() -> None:
    host = Host(PUMP_1, PUMP_2, PUMP_3)
    host.files = dict.fromkeys(host.files, PARTS_NEW)
    assert of_parts(host, PARTS_OLD, PUMP_1, PUMP_2) == [
        "units pump-1 pump-2",
        "restart pump-1",
        "restart pump-2",
        "stop pump-3",
        "units pump-1 pump-2",
    ]


def test_what_is_unchanged_and_works_is_left_alone() -> None:
    host = Host(PUMP_1, PUMP_2)
    host.now[PUMP_2] = STOPPED
    assert apply(host, PUMP_1, PUMP_2, changed=False) == []
    assert host.log == ["units pump-1 pump-2"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("state", [FAILED, CRASHING, FORBIDDEN])
def test_what_is_unchanged_and_fails_is_an_error(state: UnitState) -> None:
    host = Host(PUMP_1, PUMP_2)
    host.now[PUMP_2] = state
    with pytest.raises(NotReady, match=f"pump-2 .*not running\n  pump-2: {state.detail}") as raised:
        apply(host, PUMP_1, PUMP_2, changed=False)
    assert ("write this drop-in" in str(raised.value)) == (state is FORBIDDEN)
    assert host.log == ["units pump-1 pump-2"]
    apply(host, PUMP_1, PUMP_2, changed=False, wait_for_new=False)  # at boot it is early yet


def test_what_is_about_to_be_up_again_is_given_a_moment() -> None:
    host = Host(PUMP_1)
    host.now[PUMP_1] = CRASHING
    asked = 0

    def states(instances: Sequence[InstanceId]) -> Mapping[InstanceId, UnitState]:
        nonlocal asked
        asked += 1
        return dict.fromkeys(instances, CRASHING if asked == 1 else READY)

    host.states = states  # type: ignore[method-assign]
    assert apply(host, PUMP_1, changed=False) == []
    assert asked == 2


def test_what_ends_again_and_again_is_not_at_work_while_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "MOMENT_SECONDS", 0.05)
    host = Host(PUMP_1)
    seen = itertools.chain([STARTING, CRASHING], itertools.repeat(STARTING))
    host.states = lambda instances: dict.fromkeys(instances, next(seen))  # type: ignore[method-assign]
    with pytest.raises(NotReady, match=f"pump-1: {CRASHING.detail}"):
        apply(host, PUMP_1, changed=False)


def test_what_the_host_forbids_is_said_at_once_with_what_helps() -> None:
    host = Host(PUMP_1, PUMP_2)
    host.ends[PUMP_1] = FORBIDDEN
    with pytest.raises(NotReady, match=r"pump-1 failed(.|\n)*226\nwrite this drop-in$"):
        apply(host, PUMP_1, PUMP_2, wait_seconds=60.0)
    assert host.files[PUMP_2] == OLD


# Brokers that are away.


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("away", [NO_PRE, NO_POST])
def test_a_roll_stops_at_what_worked_and_reaches_no_broker_any_more(away: UnitState) -> None:
    host = Host(PUMP_1, PUMP_2)
    host.ends[PUMP_1] = away
    with pytest.raises(NotReady, match=r"pump-1 worked before and .*\n.*unknown host"):
        apply(host, PUMP_1, PUMP_2, wait_seconds=60.0)
    assert host.log[-1] == "restart pump-1"
    assert host.files[PUMP_2] == OLD


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("away", [NO_PRE, NO_POST])
def test_a_broker_that_was_away_before_holds_no_roll_up(away: UnitState) -> None:
    host = Host(PUMP_1, PUMP_2)
    host.now.update({PUMP_1: away, PUMP_2: away})
    host.ends.update({PUMP_1: away, PUMP_2: away})
    said = apply(host, PUMP_1, PUMP_2, wait_seconds=60.0)
    assert f"warning: pump-1 has started and is waiting: {away.waiting}" in said
    assert "waiting for pump-1: activating (start)" in said
    assert host.files == {PUMP_1: NEW, PUMP_2: NEW}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("away", [NO_PRE, NO_POST])
def test_what_is_new_and_reaches_no_broker_is_a_warning(away: UnitState) -> None:
    host = Host()
    host.ends[FAN_1] = away
    said = apply(host, FAN_1, wait_seconds=60.0)
    assert said[-1] == f"warning: fan-1 has started and is waiting: {away.waiting}"


def test_one_instance_of_each_model_restarts_at_a_time() -> None:
    host = Host(PUMP_1, PUMP_2, PUMP_3, FAN_1, FAN_2)
    apply(host, PUMP_1, PUMP_2, PUMP_3, FAN_1, FAN_2)
    rolled = [line for line in host.log if line.startswith("restart")]
    assert rolled == ["restart pump-1 fan-1", "restart pump-2 fan-2", "restart pump-3"]
    assert host.most_down == 1


@pytest.mark.parametrize(
    ("end", "wait_seconds", "why"),
    [(FAILED, 10.0, "pump-2 failed"), (STARTING, 0.0, "pump-2 not ready within 0 s")],
)
def test_a_roll_stops_at_what_does_not_get_ready(
    end: UnitState, wait_seconds: float, why: str
) -> None:
    host = Host(PUMP_1, PUMP_2, PUMP_3)
    host.ends[PUMP_2] = end
    if end is STARTING:
        host.now[PUMP_1] = STOPPED  # so that nothing before it needs its time
    with pytest.raises(NotReady) as raised:
        apply(host, PUMP_1, PUMP_2, PUMP_3, wait_seconds=wait_seconds)
    assert raised.value.exit_code == ExitCode.UNAVAILABLE
    assert str(raised.value).startswith(why)
    assert str(raised.value).endswith(f"\n  pump-2: {end.detail}")
    assert host.log[-1] == "restart pump-2"
    # The last one would still restart as it was.
    assert host.files[PUMP_3] == OLD
    assert host.now[PUMP_3] is READY


def test_what_somebody_stopped_stays_so_with_its_new_configuration() -> None:
    host = Host(PUMP_1, PUMP_2)
    host.now[PUMP_1] = STOPPED
    said = apply(host, PUMP_1, PUMP_2)
    assert host.log == ["units pump-1 pump-2", "restart pump-2"]
    assert host.files[PUMP_1] == NEW
    assert "pump-1 is stopped and stays stopped" in said


def test_what_gave_up_restarts_as_what_runs_does() -> None:
    host = Host(PUMP_1)
    host.now[PUMP_1] = FAILED
    apply(host, PUMP_1)
    assert host.now[PUMP_1] is READY


def test_what_is_new_and_fails_is_said_after_all_else_is_done() -> None:
    host = Host(PUMP_1, PUMP_2)
    host.ends[FAN_1] = FAILED
    with pytest.raises(NotReady, match="fan-1 failed"):
        apply(host, FAN_1, PUMP_1, PUMP_2)
    assert host.log[-2:] == ["restart pump-1", "restart pump-2"]


def test_at_boot_nobody_waits_for_what_is_new() -> None:
    host = Host()
    host.ends[FAN_1] = FAILED
    apply(host, FAN_1, wait_for_new=False)
    assert host.log == ["units fan-1", "start fan-1"]
