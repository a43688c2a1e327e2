"""What asks for a stop is heard, whatever a model makes of signals: each in its own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, queue, signal, sys, threading, time
from pyboot_svc.worker.signals import Signals

events = queue.SimpleQueue()
signals = Signals(events.put)
signals.catch()
taken = threading.Event()
looks = threading.Thread(target=lambda: taken.wait() and LOOK and signals.look())
looks.start()
TAKEN
taken.set()
looks.join()
LATER
os.kill(os.getpid(), signal.SIGTERM)
print(events.get(timeout=20))
"""
BLOCKED = "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())"
OWN = "signal.signal(signal.SIGTERM, lambda *_: os._exit(1))"
PIPE = "signal.set_wakeup_fd(-1)"
HANDLER = "signal.signal(signal.SIGTERM, signal.SIG_DFL)"
# A step of Python's in the main thread is all that it takes.
IS_BACK = "assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGTERM}"
PIPE_IS_BACK = "assert signal.set_wakeup_fd(-1) >= 0"


def said(taken: str, later: str = "", *, look: bool = True) -> str:
    code = CODE.replace("TAKEN", taken).replace("LATER", later).replace("LOOK", str(look))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("taken", ["pass", PIPE], ids=["nothing", "pipe"])
def test_what_is_heard_at_once(taken: str) -> None:
    assert said(taken, look=False).startswith("SIGTERM")


@pytest.mark.parametrize(
    ("taken", "later"),
    [
        (HANDLER, "pass"),
        (OWN, "pass"),
        (BLOCKED, IS_BACK),
        (PIPE, PIPE_IS_BACK),
        ("; ".join([HANDLER, PIPE, BLOCKED]), IS_BACK),
    ],
    ids=["default", "own", "blocked", "pipe", "all"],
)
def test_what_is_taken_back_by_a_look(taken: str, later: str) -> None:
    assert said(taken, later).startswith("SIGTERM")
