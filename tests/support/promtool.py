"""Prometheus' own tool, of Debian's package `prometheus`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_NEED = Path(__file__).parents[2] / "packaging/need.sh"


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run it with `text` at its standard input; skips the test where it can't be installed."""
    if shutil.which("promtool") is None:
        # The package brings a service, too, which nobody has asked for.
        environment = {**os.environ, "RUNLEVEL": "1"}
        command = ["sh", str(_NEED), "promtool", "prometheus"]
        needed = subprocess.run(command, env=environment, capture_output=True, text=True)
        if needed.returncode != 0:
            pytest.skip(f"no promtool: {needed.stderr.strip().splitlines()[-1]}")
    return subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True)
