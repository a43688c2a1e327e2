"""Attacks on a master's web and its metrics socket, from this machine, each bounded."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.app import Up
from support.fixtures import track
from support.poll import until

__all__ = ["track"]

EDGE = """\
  - name: {name}
    instance: {instance}
    edge_mode: my.model
    pre_broker: 127.0.0.1
    pre_topic: in/{name}
    post_broker: 127.0.0.1
    post_topic: out/{name}
"""
StartMaster = Callable[..., Up]
Connect = Callable[[str], socket.socket]


@pytest.fixture
def start_master(tmp_path: Path, track: Callable[[Up], Up]) -> StartMaster:
    """Starts `pyboot master` with good-1 and bad-1, or more `instances`, and `head` before them."""

    def start(*options: str, head: str = "", instances: int = 1, **how: Any) -> Up:
        config = tmp_path / "config.yaml"
        edges = "".join(EDGE.format(name=name, instance=instances) for name in ("good", "bad"))
        config.write_text(f"{head}\nedge:\n{edges}")
        more = ("--run-dir", str(tmp_path / "run"), *options)
        master = Up(tmp_path, config, *more, command="master", ready=False, **how)
        return track(master)

    return start


def has_connected(connection: socket.socket, path: str) -> bool:
    """A busy host's master has many that wait: the kernel refuses more of them meanwhile."""
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def hello(tmp_path: Path) -> Iterator[Connect]:
    """Connects to the master's metrics socket as the worker of an instance does."""
    with ExitStack() as stack:

        def connect(instance: str) -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(20)
            metrics = str(tmp_path / "run" / "metrics.sock")
            until(lambda: has_connected(connection, metrics), "there is room in the queue")
            said = {"instance": instance, "pid": os.getpid(), "version": "1"}
            connection.sendall(json.dumps(said).encode() + b"\n")
            return connection

        yield connect
