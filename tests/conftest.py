from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from support.app import data_plane

# What differs between the runs of a suite: see tests/on.sh.
_SHOWN = ("paho-mqtt", "CherryPy", "cheroot", "PyYAML", "setproctitle")


# Root takes models only from where nobody else can write, all the way up. Short, as the paths of
# sockets have to be.
_ROOTS_OWN = Path("/run/t")

if os.geteuid() == 0 and "PYTEST_DEBUG_TEMPROOT" not in os.environ:
    _ROOTS_OWN.mkdir(exist_ok=True)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(_ROOTS_OWN)
# pytest's own folders stay where they are without the one below: paths of sockets have to be short.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())


# What they start inherits what a shell has ignored that runs them in the background, or by nohup.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    """What is killed can't clear up its temporary files: these go with a folder of all of them."""
    if hasattr(config, "workerinput"):
        return  # one of several, which have that of who has started them
    folder = tempfile.mkdtemp(prefix="t-")
    os.chmod(folder, 0o1777)  # as the temporary directory is
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(autouse=True)
def same_folder() -> Iterator[None]:
    """The next test begins where this one did."""
    before = os.getcwd()
    yield
    after = os.getcwd()
    os.chdir(before)
    assert after == before, "the test leaves the process in another folder"


def pytest_report_header() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
    return f"data plane: {data_plane()}; {versions}"
