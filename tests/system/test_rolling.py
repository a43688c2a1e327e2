"""Instances of one model restart one after the other, and nothing of what flows is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from fleet import Stream, config, edge, pids, set_up, unit, units, wait_active
from machine import Machine
from support.poll import until

TRIO = ("trio-1", "trio-2", "trio-3")
CLOSED_PORT = 9


def trio(**more: Any) -> str:
    return config(edge("trio", **{"instance": 3, "options": {"scale": 1}, **more}))


@pytest.fixture(autouse=True)
def base(machine: Machine) -> None:
    """Each test starts from three ready instances that share what comes."""
    set_up(machine, trio())
    machine.reload()
    wait_active(machine, *TRIO)


@pytest.fixture
def stream(machine: Machine) -> Iterator[Stream]:
    flowing = Stream(machine, "trio")
    yield flowing
    flowing.stop()


def downtimes(machine: Machine) -> list[tuple[int, int]]:
    """When each instance was last not active, from and to, in order; µs of the host's clock."""
    names = ("ActiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    down = [tuple(int(machine.show(unit(name), when)) for when in names) for name in TRIO]
    return sorted((begin, end) for begin, end in down)


# Writes how many instances are ready, again and again: OpenRC keeps no times.
_COUNT_READY = """
import json, socket, sys

def ready(name):
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(10)
        try:
            asked.connect(f"/run/pyboot/workers/{name}/health.sock")
            return json.loads(asked.makefile().readline())["ready"]
        except (OSError, ValueError):
            return False

while True:
    print(sum(map(ready, sys.argv[1:])), flush=True)
"""
_COUNTS = "/var/tmp/counts"


@contextmanager
def one_after_the_other(machine: Machine) -> Iterator[None]:
    """Meanwhile every instance is restarted, and never two are away at once."""
    if machine.init == "systemd":
        yield
        down = downtimes(machine)
        assert all(begin < end for begin, end in down)
        assert all(before <= begin for (_, before), (begin, _) in pairwise(down))
        return
    machine.write("/var/tmp/count_ready.py", _COUNT_READY)
    machine.begin("counting", f"exec python3 /var/tmp/count_ready.py {' '.join(TRIO)} >{_COUNTS}")
    until(lambda: machine.read(_COUNTS), "counting")
    yield
    seen = len(machine.read(_COUNTS).splitlines())
    until(lambda: len(machine.read(_COUNTS).splitlines()) > seen + 1, "it has seen the end")
    machine.end("counting")
    counts = [int(line) for line in machine.read(_COUNTS).split()]
    assert counts[0] == 3
    assert 2 in counts, "the restarts were not seen"
    # One round asks the instances one by one: what it finds has to last for two.
    assert min(map(max, pairwise(counts))) >= 2


def test_a_roll_takes_one_instance_at_a_time_and_loses_nothing(
    machine: Machine, stream: Stream
) -> None:
    before = pids(machine, *TRIO)
    set_up(machine, trio(options={"scale": 2}))
    with one_after_the_other(machine):
        machine.reload()
    after = pids(machine, *TRIO)
    assert all(before[name] != after[name] for name in TRIO)
    stream.flows_on()
    assert stream.finish() == []


def test_two_applies_at_once_take_turns(machine: Machine) -> None:
    set_up(machine, trio(options={"scale": 2}))
    with one_after_the_other(machine):
        said = machine.sh("pyboot apply >/var/tmp/said & pyboot apply; wait; cat /var/tmp/said")
    assert said.count("another apply is running") == 1
    assert said.count("applied: restart 3\n") == 1
    assert said.count("unchanged: nothing to do\n") == 1


@pytest.mark.parametrize(
    ("change", "wait", "report"),
    [
        (
            {"edge_mode": "test_models.broken"},
            "60",
            ["trio-1 failed;", "trio-1: failed", "OSError: no such device"],
        ),
        (
            {"pre_port": CLOSED_PORT},
            "3",
            ["trio-1 worked before and no longer does;", "127.0.0.1:9: connection refused"],
        ),
        (
            {"post_port": CLOSED_PORT},
            "3",
            ["trio-1 worked before and no longer does;", "post broker 127.0.0.1:9: connection"],
        ),
    ],
)
def test_a_roll_stops_at_an_instance_that_does_not_get_ready_and_goes_on_when_corrected(
    machine: Machine, change: dict[str, Any], wait: str, report: list[str]
) -> None:
    others = pids(machine, "trio-2", "trio-3")
    old = machine.sh("cat /run/pyboot/instances/trio-[23].json")
    set_up(machine, trio(**change, options={"scale": 2}))
    failed = machine.run("pyboot", "apply", "--wait-seconds", wait, check=False)
    assert failed.returncode == 69
    assert all(text in failed.stderr for text in report), failed.stderr
    assert pids(machine, "trio-2", "trio-3") == others
    assert machine.sh("cat /run/pyboot/instances/trio-[23].json") == old
    planned = machine.run("pyboot", "plan", check=False).stdout
    assert "restart    trio-2" in planned
    assert "restart    trio-3" in planned

    set_up(machine, trio(options={"scale": 2}))
    machine.run("pyboot", "apply")
    assert units(machine) == dict.fromkeys(TRIO, "active")
    after = pids(machine, "trio-2", "trio-3")
    assert all(after[name] != others[name] for name in others)
    assert machine.run("pyboot", "plan").returncode == 0
    assert machine.sh("grep -c '\"scale\": 2' /run/pyboot/instances/trio-*.json").count(":1") == 3


def test_a_broker_that_is_away_for_old_and_new_alike_holds_no_roll_up(machine: Machine) -> None:
    set_up(machine, trio(post_port=CLOSED_PORT))
    machine.run("pyboot", "apply", "--wait-seconds", "1", check=False)
    machine.sh("pyboot apply --wait-seconds 1; pyboot apply --wait-seconds 1", check=False)
    set_up(machine, trio(post_port=CLOSED_PORT, options={"scale": 2}))
    done = machine.run("pyboot", "apply")
    for name in TRIO:
        warning = f"warning: {name} has started and is waiting: post broker 127.0.0.1:{CLOSED_PORT}"
        assert done.stdout.count(warning) == 1
    assert machine.run("pyboot", "plan").returncode == 0


def test_models_do_not_wait_for_each_other(machine: Machine) -> None:
    def both(scale: int) -> str:
        options = {"scale": scale}
        return config(edge("one", options=options), edge("two", options=options))

    set_up(machine, both(1))
    machine.run("pyboot", "apply")
    set_up(machine, both(2))
    assert "restarting one-1, two-1" in machine.run("pyboot", "apply").stdout


def test_what_a_removed_instance_would_get_goes_to_the_others(machine: Machine) -> None:
    """Its session would live on, and the broker would go on giving it its share."""
    set_up(machine, config(edge("share", instance=3)))
    machine.run("pyboot", "apply")
    set_up(machine, config(edge("share", instance=2)))
    machine.run("pyboot", "apply")
    machine.record()
    for number in range(30):
        machine.publish("share/in", str(number), qos=1)
    until(lambda: len(machine.published("share/out")) >= 30, "every message has its result")
    assert sorted(map(int, machine.published("share/out"))) == list(range(30))
