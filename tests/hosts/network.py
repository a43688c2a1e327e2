"""Hosts on one machine: network namespaces around a broker, each behind a cable of its own."""

from __future__ import annotations

import subprocess
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Network:
    """A `centre` and hosts around it; needs root, and touches nothing of the machine's own network.

    All of it is gone after `with`, whatever happens; names are this run's own.
    """

    def __init__(self) -> None:
        # An interface's name has 15 characters at most.
        self._name = f"pb{uuid.uuid4().hex[:6]}"
        self._stack = ExitStack()
        self._hosts = 0

    def __enter__(self) -> Self:
        self.centre = self._namespace("c")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self) -> Host:
        """A host with a cable to the centre."""
        self._hosts += 1
        namespace = self._namespace(f"h{self._hosts}")
        near, far = f"{self._name}n{self._hosts}", f"{self._name}f{self._hosts}"
        _ip(
            *("-n", self.centre, "link", "add", near, "type", "veth"),
            *("peer", "name", far, "netns", namespace),
        )
        for end, where, number in ((near, self.centre, 1), (far, namespace, 2)):
            _ip("-n", where, "address", "add", f"10.99.{self._hosts}.{number}/24", "dev", end)
            _ip("-n", where, "link", "set", end, "up")
        return Host(namespace, self.centre, near, f"10.99.{self._hosts}.1")

    def _namespace(self, end: str) -> str:
        name = f"{self._name}{end}"
        _ip("netns", "add", name)
        # Its ends of cables go with it, and the other ends with them.
        self._stack.callback(_ip, "netns", "delete", name)
        _ip("-n", name, "link", "set", "lo", "up")
        return name


class Host:
    """A network namespace; `centre` is the centre's address as it sees it."""

    def __init__(self, namespace: str, centre_namespace: str, cable: str, centre: str) -> None:
        self.centre = centre
        self.enter = enter(namespace)
        self._centre_namespace = centre_namespace
        self._cable = cable

    def cut(self) -> None:
        """Nothing gets through, and nobody is told."""
        _ip("-n", self._centre_namespace, "link", "set", self._cable, "down")

    def mend(self) -> None:
        _ip("-n", self._centre_namespace, "link", "set", self._cable, "up")


def enter(namespace: str) -> list[str]:
    """What stands in front of a command that runs there."""
    return ["ip", "netns", "exec", namespace]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)
