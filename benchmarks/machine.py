"""What it was measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from support.broker import mosquitto


def machine() -> dict[str, str]:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    os_release = platform.freedesktop_os_release()
    return {
        "CPU": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": os_release.get("PRETTY_NAME", "unknown"),
        "Python": platform.python_version(),
        "mosquitto": _mosquitto_version(),
    }


def machine_line() -> str:
    return "; ".join(f"{name}: {value}" for name, value in machine().items()) + "."


def _mosquitto_version() -> str:
    done = subprocess.run(
        [mosquitto(), "-h"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    found = re.search(r"version (\S+)", done.stdout + done.stderr)
    return found[1] if found else "unknown"
