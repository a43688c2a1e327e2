"""The mosquitto of another release than this host's."""

from __future__ import annotations

from rig import default_cache_dir, unpacked_files


def debian_13_mosquitto() -> list[str]:
    """The command of Debian 13's mosquitto, with the libraries that come with it."""
    root = unpacked_files(["mosquitto"], default_cache_dir())
    libraries = root / "usr/lib"
    (loader,) = sorted(libraries.glob("*-linux-*/ld-linux*.so.*"))[:1]
    return [str(loader), "--library-path", str(loader.parent), str(root / "usr/sbin/mosquitto")]
