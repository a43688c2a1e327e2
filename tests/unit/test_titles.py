"""What `ps` shows, also without the library that is made for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
if {without}:
    sys.modules["setproctitle"] = None
import threading
from pathlib import Path
from pyboot_svc.threads import spawn
from pyboot_svc.titles import show_title
show_title("edge-model: mean-1")
gate, named = threading.Event(), threading.Event()
spawn("a thread with a long name", lambda: (named.set(), gate.wait()))
named.wait()
print(sorted(file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm"))[0])
print(Path("/proc/self/cmdline").read_bytes().startswith(b"edge-model: mean-1"))
gate.set()
"""


@pytest.mark.parametrize("without", [False, True], ids=["with", "without"])
def test_titles(without: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE.format(without=without)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["a thread with a", str(not without)]
