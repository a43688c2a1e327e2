"""What the workers write reaches the journal: whole, once, in order, and with fields to find it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from machine import Machine
from support.poll import until

pytestmark = pytest.mark.systemd

MODELS = """
def burst(payload, context):
    for number in range(payload):
        context.logger.info("line %d of the burst", number)

def levels(payload, context):
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(context.logger, name)("said at %s", name)

def printed(payload):
    print("printed", payload)

def fails(payload, context):
    try:
        ratio = 1 / payload
    except ZeroDivisionError:
        context.logger.exception("caught")
    return 1 / payload
"""

CONFIG = """
defaults: {pre_broker: 127.0.0.1, post_broker: 127.0.0.1}
edge:
  - name: telm_temperature
    pre_topic: telm/in/+
    post_topic: telm/out
    edge_mode: pyboot_svc.models.telemetry.telm_temperature
  - {name: burst, pre_topic: burst/in, post_topic: burst/out, edge_mode: test_models.burst}
  - {name: levels, pre_topic: levels/in, post_topic: levels/out, edge_mode: test_models.levels}
  - {name: printed, pre_topic: printed/in, post_topic: printed/out, edge_mode: test_models.printed}
  - {name: fails, pre_topic: fails/in, post_topic: fails/out, edge_mode: test_models.fails}
"""
NAMES = ("telm_temperature", "burst", "levels", "printed", "fails")


@pytest.fixture(scope="module", autouse=True)
def plant(machine: Machine) -> None:
    machine.write(
        "/etc/systemd/system/edge-model@burst-1.service.d/test.conf",
        "[Service]\nLogRateLimitIntervalSec=0\n",
    )
    machine.write("/etc/pyboot/models/test_models.py", MODELS)
    machine.write("/etc/pyboot/config.yaml", CONFIG)
    machine.run("systemctl", "reload", "pyboot")
    machine.wait_active(*(f"edge-model@{name}-1.service" for name in NAMES))


def entries(machine: Machine, *arguments: str) -> list[dict[str, Any]]:
    """The journal's entries, with their fields."""
    machine.run("journalctl", "--sync")
    return [json.loads(line) for line in machine.journal(*arguments, "--output=json").splitlines()]


def messages(machine: Machine, *arguments: str) -> list[str]:
    return [entry["MESSAGE"] for entry in entries(machine, *arguments)]


def test_the_error_of_a_bad_message_is_found_by_its_model(machine: Machine) -> None:
    query = ("EDGE_MODEL=telm_temperature", "--priority=err")
    assert messages(machine, *query) == []
    machine.publish("telm/in/pump-7", '{"value": ')
    until(lambda: messages(machine, *query), "the error")
    machine.publish("telm/in/pump-8", '{"device": "pump-8", "value": 212, "unit": "F"}')
    (error,) = entries(machine, *query)
    assert error["MESSAGE"].startswith("message failed (not_json): topic telm/in/pump-7, 10 bytes")
    fields = {
        "INSTANCE": "telm_temperature-1",
        "TOPIC": "telm/in/pump-7",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "pyboot",
        "_SYSTEMD_UNIT": "edge-model@telm_temperature-1.service",
    }
    assert {name: error[name] for name in fields} == fields


def test_levels_become_priorities(machine: Machine) -> None:
    machine.publish("levels/in", "0")

    def said() -> dict[str, str]:
        found = entries(machine, "EDGE_MODEL=levels")
        return {e["MESSAGE"]: e["PRIORITY"] for e in found if e["MESSAGE"].startswith("said")}

    until(lambda: "said at critical" in said(), "the last one")
    assert said() == {
        "said at info": "6",
        "said at warning": "4",
        "said at error": "3",
        "said at critical": "2",
    }


def test_a_burst_is_all_there_once_and_in_order(machine: Machine) -> None:
    machine.publish("burst/in", "2000")

    def burst() -> list[str]:
        return [text for text in messages(machine) if text.endswith("of the burst")]

    until(lambda: len(burst()) >= 2000, "all of it")
    assert burst() == [f"line {number} of the burst" for number in range(2000)]


def test_what_a_model_prints_arrives_at_once(machine: Machine) -> None:
    machine.publish("printed/in", '"a unique word"')
    until(
        lambda: "printed a unique word" in messages(machine, "-u", "edge-model@printed-1"),
        "what was printed",
    )
    assert messages(machine).count("printed a unique word") == 1


def test_a_traceback_is_one_entry(machine: Machine) -> None:
    machine.publish("fails/in", "0")
    query = ("EDGE_MODEL=fails", "--priority=err")
    until(lambda: "message failed" in "".join(messages(machine, *query)), "all errors")
    caught, failed = messages(machine, *query)
    for text in (caught, failed):
        assert 'test_models.py", line' in text
        assert "ZeroDivisionError: division by zero" in text
    assert caught.startswith("caught\n")
    assert "Traceback (most recent call last):\n" in caught
    assert failed.startswith("message failed (model): topic fails/in, 1 byte,")


def test_pyboot_logs_shows_the_same(machine: Machine) -> None:
    machine.publish("printed/in", "7")
    until(lambda: "printed 7" in messages(machine, "--unit=edge-model@printed-1"), "the print")
    assert "printed 7" in machine.run("pyboot", "logs", "printed-1").stdout
    assert "edge-model@printed-1.service" in machine.run("pyboot", "logs", "printed").stdout
    assert "printed 7" not in machine.run("pyboot", "logs", "printed-1", "--errors").stdout
    assert "-- No entries --" in machine.run("pyboot", "logs", "print").stdout
