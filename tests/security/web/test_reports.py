"""Attacks on what the master takes for an instance's report: a worker that speaks for another."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.app import Up
from support.poll import until

from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.tokens import read_token, token_file
from pyboot_svc.services.tokens import issue_tokens

GOOD, BAD = InstanceId("good", 1), InstanceId("bad", 1)
SECOND = "a second hello while the first connection lives"
WRONG = "a hello with another token than the instance's"
UNKNOWN = "a hello of an instance that is not configured"
Say = Callable[..., socket.socket]
Token = Callable[[InstanceId], str]


@pytest.fixture
def master(start_master: Callable[..., Up], tmp_path: Path) -> Up:
    """One whose instances have been given tokens, as `apply` does."""
    issue_tokens(tmp_path / "run", [GOOD, BAD])
    return start_master()


@pytest.fixture
def say(tmp_path: Path) -> Iterator[Say]:
    """Says a hello at the metrics socket."""
    with ExitStack() as stack:

        def say_hello(instance: object, token: str = "", **more: Any) -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(20)
            connection.connect(str(tmp_path / "run" / "metrics.sock"))
            said = {"instance": str(instance), "pid": os.getpid(), "token": token, **more}
            connection.sendall(json.dumps(said).encode() + b"\n")
            return connection

        yield say_hello


@pytest.fixture
def token(tmp_path: Path) -> Token:
    return lambda identity: read_token(token_file(tmp_path / "run", identity))


def is_dropped(connection: socket.socket) -> bool:
    """Whatever it was asked before."""
    try:
        while connection.recv(64):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def is_there(master: Up, instance: InstanceId) -> None:
    until(lambda: master.instance(str(instance))["state"] == "stalled", "it is connected")


def refused(master: Up) -> dict[str, int]:
    found: dict[str, int] = master.get("/api/instances")[1]["refused_connections"]
    return found


def test_a_worker_does_not_speak_for_another(master: Up, say: Say, token: Token) -> None:
    """Neither with its own token nor without one, though the other isn't there."""
    for wrong in (token(BAD), "", "0" * 64):
        assert is_dropped(say(GOOD, wrong))
    assert master.instance("good-1")["state"] == "absent"
    say(GOOD, token(GOOD))
    is_there(master, GOOD)
    assert refused(master) == {WRONG: 2, "a hello without a token": 1}


def test_nor_does_it_throw_the_other_out(master: Up, say: Say, token: Token) -> None:
    say(GOOD, token(GOOD))
    is_there(master, GOOD)
    for _ in range(100):
        assert is_dropped(say(GOOD, token(BAD)))
    is_there(master, GOOD)
    assert refused(master) == {WRONG: 100}
    assert master.log.count(WRONG) == 1


def test_a_hello_that_was_overheard_is_worth_nothing(master: Up, say: Say, token: Token) -> None:
    """While the worker lives; from another process never: the kernel tells which one it is."""
    first = say(GOOD, token(GOOD))
    assert is_dropped(say(GOOD, token(GOOD)))
    assert is_dropped(say(GOOD, token(GOOD), pid=1))
    assert refused(master) == {SECOND: 1, "a hello with another process's id": 1}
    first.close()
    again = say(GOOD, token(GOOD))  # which a restarted worker may
    is_there(master, GOOD)
    assert again.recv(2) == b"?\n"


def test_a_flood_of_names_takes_nobodys_place(master: Up, say: Say, token: Token) -> None:
    for number in range(500):
        assert is_dropped(say(f"made-up-{number + 1}", "0" * 64))
    rows = master.get("/api/instances")[1]["instances"]
    assert [row["instance"] for row in rows] == ["good-1", "bad-1"]
    assert refused(master) == {UNKNOWN: 500}
    assert len(master.log) < 10_000
    say(GOOD, token(GOOD))
    is_there(master, GOOD)


def test_a_token_that_was_replaced_is_known_after_a_reload(
    master: Up, say: Say, token: Token, tmp_path: Path
) -> None:
    old = token(GOOD)
    token_file(tmp_path / "run", GOOD).unlink()
    issue_tokens(tmp_path / "run", [GOOD, BAD])
    master.process.send_signal(signal.SIGHUP)
    master.wait_log("reloaded the configuration")

    def refuses_the_old_one() -> bool:
        # The tokens are read after the configuration, of which the log tells.
        with say(GOOD, old) as connection:
            connection.settimeout(1)
            is_dropped(connection)
        return WRONG in refused(master)

    until(refuses_the_old_one, "the old one is refused")
    say(GOOD, token(GOOD))
    is_there(master, GOOD)
