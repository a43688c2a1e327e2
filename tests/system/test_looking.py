"""`pyboot logs` and `pyboot trace` of services, for root and for those who may not look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from shlex import quote

import pytest
from fleet import config, edge, set_up, wait_active
from machine import Machine
from support.poll import until

MODELS = """
def said(payload):
    print("got", payload, flush=True)
    if payload == "bad":
        raise ValueError("it is bad")
    return payload
"""
PAIR = ("pair-1", "pair-2")
BAD = '"bad"'


@pytest.fixture(scope="module", autouse=True)
def pair(machine: Machine) -> None:
    """Each of both gets every message."""
    set_up(machine, config(edge("pair", model="said", instance=2, share=False)), MODELS)
    machine.reload()
    wait_active(machine, *PAIR)
    machine.sh("id somebody 2>/dev/null || useradd somebody; usermod -G '' somebody")


def publish(machine: Machine, payload: str) -> None:
    machine.publish("pair/in", payload, 1)


def logged(machine: Machine, name: str, text: str) -> bool:
    return text in machine.run("pyboot", "logs", name).stdout


def as_somebody(machine: Machine, groups: str, *command: str) -> tuple[int, str]:
    """Exit code and output of a command of a user in these groups alone."""
    machine.sh(f"usermod -G {quote(groups)} somebody")
    done = machine.run("runuser", "-u", "somebody", "--", *command, check=False)
    return done.returncode, done.stdout + done.stderr


class Looking:
    """A command that goes on, and what it has said so far."""

    def __init__(self, machine: Machine, command: str) -> None:
        self._machine = machine
        self._file = "/var/tmp/looking"
        machine.begin(
            "looking", f"{command} >{self._file} 2>&1 </dev/null; echo code $? >>{self._file}"
        )

    def said(self) -> str:
        return self._machine.read(self._file)

    def wait(self, text: str) -> None:
        until(lambda: text in self.said(), f"{text!r} is shown")


@pytest.fixture
def looking(machine: Machine) -> Iterator[type[Looking]]:
    yield Looking
    machine.end("looking")


def rotate(machine: Machine) -> None:
    if machine.init == "systemd":
        machine.run("journalctl", "--rotate")
    else:
        machine.run("logrotate", "--force", "/etc/logrotate.d/pyboot")


def test_logs_of_one_and_of_all(machine: Machine) -> None:
    publish(machine, "1")
    publish(machine, BAD)
    for name in PAIR:
        until(partial(logged, machine, name, "it is bad"), name)
        errors = machine.run("pyboot", "logs", name, "--errors").stdout
        assert ("it is bad" in errors, "got 1" in errors) == (True, False)
    both = machine.run("pyboot", "logs", "pair").stdout
    assert both.count("got 1") == 2
    assert all(name in both for name in PAIR)
    few = machine.run("pyboot", "logs", "pair", "-n", "2").stdout
    assert len([line for line in few.splitlines() if line and not line.startswith("-- ")]) >= 2
    assert "got 1" not in few


def test_following_goes_on_when_logs_are_rotated(machine: Machine, looking: type[Looking]) -> None:
    publish(machine, '"before"')
    until(partial(logged, machine, "pair-1", "got before"), "it is logged")
    follow = looking(machine, "pyboot logs pair-1 -f -n 3")
    follow.wait("got before")
    for number in range(3):
        publish(machine, f'"round {number}"')
        follow.wait(f"got round {number}")
        rotate(machine)
    publish(machine, '"after"')
    follow.wait("got after")
    said = follow.said()
    assert [said.count(f"got round {number}") for number in range(3)] == [1, 1, 1]


def test_who_may_not_read_logs_is_told_what_to_do(machine: Machine) -> None:
    code, said = as_somebody(machine, "", "pyboot", "logs", "pair-1")
    assert code == 69, said
    assert "'adm'" in said or "the group adm" in said
    code, said = as_somebody(machine, "adm", "pyboot", "logs", "pair-1")
    assert (code, "pair-1" in said) == (0, True), said


def test_trace_until_the_worker_ends(machine: Machine, looking: type[Looking]) -> None:
    """As root; it says which of both a message passed."""

    def seen(trace: Looking, text: str) -> bool:
        publish(machine, BAD)
        return text in trace.said()

    trace = looking(machine, "pyboot trace pair --errors -n 2 --json")
    until(lambda: seen(trace, "code 0"), "two messages")
    shown = [json.loads(line) for line in trace.said().splitlines() if line.startswith("{")]
    found = [one for one in shown if "skipped" not in one]
    assert {one["instance"] for one in found} <= set(PAIR)
    assert [(one["end"], one["input"]) for one in found] == [("dead letter", BAD)] * 2
    machine.end("looking")
    trace = looking(machine, "pyboot trace pair-1")
    until(lambda: seen(trace, "ValueError: it is bad"), "the error")
    machine.control("restart", "pair-1")
    trace.wait("pair-1: ended")
    trace.wait("code 69")
    wait_active(machine, "pair-1")


def test_who_may_not_trace_is_told_what_to_do(machine: Machine) -> None:
    for name in ("pair-1", "pair"):
        code, said = as_somebody(machine, "", "pyboot", "trace", name)
        assert (code, "try as root (sudo)" in said) == (69, True), said


@pytest.mark.openrc
def test_the_group_may_trace(machine: Machine, looking: type[Looking]) -> None:
    """Under systemd the socket is in a folder of root's alone."""
    machine.sh("usermod -G pyboot somebody")
    trace = looking(machine, "runuser -u somebody -- pyboot trace pair-1 -n 1")

    def seen() -> bool:
        publish(machine, "2")
        return "code 0" in trace.said()

    until(seen, "a message")
    assert "published to pair/out" in trace.said()


def test_apply_shows_how_far_it_is_on_a_terminal_alone(machine: Machine) -> None:
    bar = "[##########----------] 1 of 2 instances"
    machine.write("/etc/pyboot/config.yaml", config(edge("pair", "said", instance=2)))
    shown = machine.sh("TERM=xterm script -qec 'pyboot apply' /dev/null </dev/null")
    assert bar in shown
    assert shown.endswith("applied: restart 2\r\n")
    machine.write("/etc/pyboot/config.yaml", config(edge("pair", "said", instance=2, share=False)))
    piped = machine.sh("TERM=xterm pyboot apply")
    assert ("\r" in piped, "\x1b" in piped, "[" in piped) == (False, False, False)
    wait_active(machine, *PAIR)
