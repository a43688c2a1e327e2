"""No dump of a process that knows passwords; what it needs of itself it can still read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# As an ordinary user, whoever runs the tests. All is imported before: it may be root's to read.
SCRIPT = """
import ctypes, faulthandler, json, os, resource, signal, sys, threading
import setproctitle
from pathlib import Path
from pyboot_svc.undumpable import refuse_dumps

setproctitle.setproctitle("before")
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
faulthandler.enable()
refuse_dumps()
setproctitle.setproctitle("edge-model: after")
setproctitle.setthreadtitle("a-thread")
task = Path(f"/proc/self/task/{threading.get_native_id()}")
print(json.dumps({
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    "limit": resource.getrlimit(resource.RLIMIT_CORE)[0],
    "resident": int(Path("/proc/self/statm").read_text().split()[1]) > 0,
    "stat": len((task / "stat").read_text().split()) > 12,
    "schedstat": len((task / "schedstat").read_text().split()) if (task / "schedstat").exists()
                 else 3,
    "title": Path("/proc/self/cmdline").read_text().split(chr(0))[0],
    "thread": (task / "comm").read_text().strip(),
    "uid": os.getuid(),
}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_it_reads_of_itself_and_its_stacks_stay(process: subprocess.Popen[str]) -> None:
    with process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        user = found.pop("uid")
        assert found == {
            "dumpable": 0,
            "limit": 0,
            "resident": True,
            "stat": True,
            "schedstat": 3,
            "title": "edge-model: after",
            "thread": "a-thread",
        }
        assert user != 0
        owner = Path(f"/proc/{process.pid}/environ").stat().st_uid
        assert owner == 0, "another process of its user could read it"
        process.send_signal(signal.SIGABRT)
        _, stacks = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGABRT
    assert 'File "<string>"' in stacks


def test_a_python_without_ctypes_works_on() -> None:
    code = (
        "import sys; sys.modules['ctypes'] = None\n"
        "from pyboot_svc.undumpable import refuse_dumps; refuse_dumps()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
