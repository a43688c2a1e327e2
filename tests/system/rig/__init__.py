"""Real Debian 13 hosts, booted with systemd or OpenRC, for tests that need an init system.

    image = base_image(PACKAGES, default_cache_dir())
    with Host(image) as host:
        host.run("systemctl", "start", "mosquitto")

Needs root, Debian's systemd-container and mmdebstrap, a kernel >= 5.14 and a mounted cgroup v2
hierarchy (beside v1 is fine). Needs neither systemd nor a terminal on the machine itself.
"""

from rig.commands import CommandFailed, RigError
from rig.host import Host
from rig.image import (
    OPENRC_PACKAGES,
    PACKAGES,
    base_image,
    default_cache_dir,
    unpacked_files,
)

__all__ = [
    "OPENRC_PACKAGES",
    "PACKAGES",
    "CommandFailed",
    "Host",
    "RigError",
    "base_image",
    "default_cache_dir",
    "unpacked_files",
]
