"""A fresh Debian 13, as its installer leaves it: a user who has sudo, and nothing of pyboot's.

What a newcomer downloads is in the image already, since the hosts have no network: Debian's
packages in apt's cache, and Python's in a folder that pip takes for the index.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from shlex import quote

from rig import base_image, default_cache_dir

ROOT = Path(__file__).parents[2]
USER = "ann"
# Of the installer's "standard system utilities" those that the README takes for granted.
_PACKAGES = ("systemd", "systemd-sysv", "dbus", "sudo", "procps", "python3", "ca-certificates")
_WHEELS = "/opt/wheels"
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def fresh_image(apt_packages: list[str]) -> Path:
    """In it, `apt install` of these packages and `pip install .` find all that they need."""
    return base_image(
        _PACKAGES,
        default_cache_dir(),
        (
            f'chroot "$1" apt-get install -y --download-only {" ".join(map(quote, apt_packages))}',
            _wheels(),
            f'printf "[global]\\nno-index = true\\nfind-links = {_WHEELS}\\n" >"$1/etc/pip.conf"',
            f'chroot "$1" useradd --create-home --shell /bin/bash {USER}',
            f'echo "{USER} ALL=(ALL) NOPASSWD: ALL" >"$1/etc/sudoers.d/{USER}"',
        ),
    )


def _wheels() -> str:
    """Built by the image's own pip, which python3-venv brings, with this machine's authorities."""
    wanted = " ".join(map(quote, _requirements()))
    ours = os.environ.get("PIP_CERT", _AUTHORITIES)
    inside = (
        "dpkg-deb -x /var/cache/apt/archives/python3-pip-whl_*.deb /tmp/pip && "
        "python3 -m zipfile -e /tmp/pip/usr/share/python-wheels/pip-*.whl /tmp/pip && "
        f"PYTHONPATH=/tmp/pip python3 -m pip wheel --wheel-dir {_WHEELS} {wanted}"
    )
    return (
        f'cp -L {quote(ours)} "$1/tmp/authorities" && '
        "env --unset=PIP_FIND_LINKS --unset=CURL_CA_BUNDLE REQUESTS_CA_BUNDLE=/tmp/authorities "
        "PIP_CERT=/tmp/authorities PIP_CONFIG_FILE=/dev/null PYTHONDONTWRITEBYTECODE=1 "
        f'chroot "$1" sh -c {quote(inside)} && '
        'rm -r "$1/tmp/pip" "$1/tmp/authorities"'
    )


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [*project["build-system"]["requires"], *project["project"]["dependencies"]]


def apt_packages_of(script: str) -> list[str]:
    """What a script installs by apt."""
    lines = re.findall(r"^sudo apt install -y ([^#\n]+)", script, re.MULTILINE)
    return [name for line in lines for name in line.split()]
