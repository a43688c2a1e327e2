from __future__ import annotations

from importlib.metadata import version

from support.app import data_plane

# What differs between the runs of a suite: see tests/on.sh.
_SHOWN = ("paho-mqtt", "CherryPy", "cheroot", "PyYAML", "setproctitle", "prometheus-client")


def pytest_report_header() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
    return f"data plane: {data_plane()}; {versions}"
