"""Edges and their instances on a machine, for the tests of what changes them."""

from __future__ import annotations

import json
import time
from shlex import quote
from typing import Any

from machine import Machine
from support.poll import until

MODELS = """
import os
import time

def echo(payload):
    return payload

def options(payload, context):
    return dict(context.options)

class broken:
    def __init__(self):
        raise OSError("no such device")

    def __call__(self, payload):
        return payload

def slow(payload):
    time.sleep(1.0)
    return payload
"""


# A shell would start a `sleep` for each of them.
_COUNT = """
import itertools, os, time
for number in itertools.count(1):
    if os.path.exists("/var/tmp/stream.stop"):
        break
    print(number, flush=True)
    time.sleep(0.01)
"""


def edge(name: str, model: str = "echo", **more: Any) -> dict[str, Any]:
    """From the topic NAME/in to NAME/out, by a function of MODELS."""
    topics = {"pre_topic": f"{name}/in", "post_topic": f"{name}/out"}
    return {"name": name, "edge_mode": f"test_models.{model}", **topics, **more}


def config(*edges: dict[str, Any], **defaults: Any) -> str:
    """A configuration of these edges at QoS 1, as JSON, which is YAML."""
    local = {"pre_broker": "127.0.0.1", "post_broker": "127.0.0.1", "pre_qos": 1, "post_qos": 1}
    return json.dumps({"defaults": {**local, **defaults}, "edge": edges}, indent=1)


def set_up(machine: Machine, text: str, models: str = MODELS) -> None:
    """Write the configuration and the models; nothing is applied."""
    machine.write("/etc/pyboot/models/test_models.py", models)
    machine.write("/etc/pyboot/config.yaml", text)


def unit(instance: str) -> str:
    return f"edge-model@{instance}.service"


def pids(machine: Machine, *instances: str) -> dict[str, int]:
    return {instance: machine.pid(instance) for instance in instances}


def wait_active(machine: Machine, *instances: str) -> None:
    machine.wait_up(*instances)


def units(machine: Machine) -> dict[str, str]:
    """The state of every worker that the service manager knows, by instance."""
    return machine.instances()


class Results:
    """All that is published to a topic from now on, kept by the broker until it is asked for."""

    def __init__(self, machine: Machine, topic: str) -> None:
        self._machine = machine
        self._read = f"mosquitto_sub -i results-{topic.replace('/', '-')} -c -q 1 -t '{topic}'"
        self._machine.sh(f"{self._read} -E")

    def take(self, count: int, seconds: int = 20) -> list[str]:
        """The next `count` of them, or what came of them in time."""
        return self._machine.sh(f"{self._read} -C {count} -W {seconds}", check=False).splitlines()


class Stream:
    """Publishes 1, 2, 3, … to NAME/in at QoS 1, and notes what comes of it on NAME/out."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self.stop()
        subscribe = f"mosquitto_sub -i stream -c -q 1 -t {name}/out"
        machine.sh(f"rm -f /var/tmp/stream.*; touch /var/tmp/stream.out; {subscribe} -E")
        self._begin("stream-sub", f"exec {subscribe} >/var/tmp/stream.out")
        self._begin(
            "stream-pub",
            f"python3 -c {quote(_COUNT)} | tee /var/tmp/stream.in"
            f" | mosquitto_pub -l -q 1 -t {name}/in",
        )
        self.flows_on()

    def flows_on(self) -> None:
        """Wait until results come that hadn't come yet."""
        before = len(self._results())
        until(lambda: len(self._results()) > before, "results come")

    def finish(self, timeout: float = 30.0) -> list[int]:
        """Publish no more; the numbers of which no result has come in time."""
        self._machine.sh("touch /var/tmp/stream.stop")
        until(lambda: not self._machine.is_at_work("stream-pub"), "all are published")
        published = [int(line) for line in self._machine.read("/var/tmp/stream.in").split()]
        deadline = time.monotonic() + timeout
        while missing := sorted(set(published) - self._results()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.stop()
        return missing

    def stop(self) -> None:
        self._machine.end("stream-pub", "stream-sub")

    def _results(self) -> set[int]:
        *lines, _incomplete = self._machine.read("/var/tmp/stream.out").split("\n")
        return set(map(int, lines))

    def _begin(self, name: str, script: str) -> None:
        self._machine.begin(name, script)
