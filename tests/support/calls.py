"""Calls of Python functions in the thread that runs the model, counted while the model says so."""

from __future__ import annotations

from pathlib import Path

# Python imports a module of this name by itself when it starts.
_SITE = """
import sys
import threading

counted = thread = None


def profile(frame, event, argument):
    global counted
    if event == "call" and counted is not None and threading.get_ident() == thread:
        counted += 1


threading.setprofile(profile)
sys.setprofile(profile)
"""
_MODEL = """
import threading

import sitecustomize


def same(payload):
    if payload == "begin":
        sitecustomize.counted, sitecustomize.thread = 0, threading.get_ident()
    elif payload == "end":
        payload, sitecustomize.counted = sitecustomize.counted, None
    return payload
"""


def write_counter(folder: Path) -> dict[str, str]:
    """Write the model `my_models.same`; gives the environment in which its process is to run.

    A single model thread reads and sends as well; what the others do by the clock is not counted.
    It counts from the message "begin" to the message "end", whose result is how many calls there
    were.
    """
    (folder / "my_models.py").write_text(_MODEL)
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE)
    return {"PYTHONPATH": str(site)}
